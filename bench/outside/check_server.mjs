// Checks a server's histograms (stages.json of a directory) with HdrHistogram's library for JavaScript, and that its sums over the cores are
// those that the library for Python found (sums.json, which check_server.py writes). See README.md.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import hdr from "hdr-histogram-js";

const directory = process.argv[2];
const readJson = (name) => JSON.parse(readFileSync(join(directory, name), "utf8"));

function same(what, read, expected) {
  const [one, other] = [read, expected].map((value) => JSON.stringify(value));
  if (one !== other) {
    console.error(`${what}: read ${one}, expected ${other}`);
    process.exit(1);
  }
}

/** Every value that was recorded, as the lowest equivalent, with its count. */
function valuesOf(histogram) {
  const values = [];
  for (let index = 0; index < histogram.countsArrayLength; index++) {
    const count = histogram.getCountAtIndex(index);
    if (count > 0) values.push([histogram.valueFromIndex(index), count]);
  }
  return values;
}

const sums = new Map();
let recorded = 0;
for (const { operations } of readJson("stages.json").cores) {
  for (const [operation, stages] of Object.entries(operations)) {
    for (const [stage, encoded] of Object.entries(stages)) {
      const name = `${operation} ${stage}`;
      const histogram = hdr.decodeFromCompressedBase64(encoded, 64);
      recorded += histogram.totalCount;
      if (sums.has(name)) sums.get(name).add(histogram);
      else sums.set(name, histogram);
    }
  }
}
const theirs = readJson("sums.json");
same("names", [...sums.keys()].sort(), Object.keys(theirs).sort());
let values = 0;
for (const [name, histogram] of sums) {
  const ours = valuesOf(histogram);
  same(`${name}, count`, histogram.totalCount, ours.reduce((sum, [, count]) => sum + count, 0));
  same(`${name}, different values`, ours.length, theirs[name].length);
  ours.forEach((pair, index) => same(`${name}, value ${index}`, pair, theirs[name][index]));
  values += ours.length;
}
console.log(`ok: ${recorded} values; ${sums.size} sums are the same in both libraries, in ${values} different values`);
