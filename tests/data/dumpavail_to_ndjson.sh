#!/bin/sh
# Turns Debian's package index into records for `corelode import`: the package's name is the key, its stanza the value.
#
#     apt-cache dumpavail | sh tests/data/dumpavail_to_ndjson.sh > packages.ndjson
#
# Needs nothing but awk, which every Debian has (mawk, gawk, busybox and the original one agree on the whole index).
# A name that comes again and a stanza without a name are left out and counted on standard error.
# Bytes pass through as they are, so the output is UTF-8 where the index is.
LC_ALL=C exec awk '
# JSON wants a backslash before quotes and backslashes, and no bare control character.
function escaped(text,    code) {
    gsub(/[\\"]/, "\\\\&", text)
    gsub(/\t/, "\\t", text)
    if (text ~ /[\001-\037]/)
        for (code = 1; code < 32; code++)
            gsub(sprintf("%c", code), sprintf("\\u%04x", code), text)
    return text
}
function finish() {
    if (name != "") {
        if (name in seen) repeated++
        else printf "{\"key\":\"%s\",\"value\":\"%s\"}\n", escaped(name), stanza
        seen[name] = 1
    } else if (stanza != "") unnamed++
    name = ""; stanza = ""
}
/^$/ { finish(); next }
/^Package: / { name = substr($0, 10) }
{ stanza = stanza escaped($0) "\\n" }
END {
    finish()
    if (unnamed) print unnamed " stanzas left out: they name no package" > "/dev/stderr"
    if (repeated) print repeated " stanzas left out: their names came before" > "/dev/stderr"
}
'
