//! What was run: of one report as a list, of several as a table that shows where they differ.

use super::super::model::Report;
use super::super::words::{
    build_text, bytes_text, clients_text, count_text, machine_text, mix_text, pace_text, time_text,
};
use super::escape::Escaped;
use super::{Subject, badge, put};

/// A fact about a report: what it is about, and what it says.
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: String,
}

/// The facts of a report in the order in which they are shown. Those that every report has come first, in the same places.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let Report { target, workload, load, machine, generator, .. } = report;
    let pinned = |text: String, processors: &str| {
        if processors.is_empty() { text } else { format!("{text}, on processors {processors}") }
    };
    let mut facts: Vec<Fact> = [
        (
            "Store",
            pinned(format!("{}, {} driver, {}", target.server, target.driver, target.address), &target.pinned_to),
        ),
        ("Durability", target.durability.clone()),
        ("Workload", format!("{}: {}", workload.name, mix_text(workload))),
        (
            "Keys",
            format!(
                "{} of {}, values of {}; {}",
                count_text(workload.keys),
                bytes_text(workload.key_bytes as u64),
                bytes_text(workload.value_bytes as u64),
                workload.distribution
            ),
        ),
        ("Load", format!("{}; {}", pace_text(load.pace), clients_text(load))),
        ("Time", time_text(report)),
        ("Machine", machine_text(machine)),
        ("Kernel", machine.kernel.clone()),
        ("Generator", build_text(generator)),
        ("Seed", workload.seed.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| Fact { name: name.to_owned(), value })
    .collect();
    facts.extend(
        target.settings.iter().map(|(name, value)| Fact { name: format!("Setting {name}"), value: value.clone() }),
    );
    facts
}

/// The facts of one report.
pub(super) fn single(page: &mut String, report: &Report) {
    page.push_str("<dl class=\"facts\">\n");
    for fact in facts(report) {
        put(page, format_args!("<div><dt>{}</dt><dd>{}</dd></div>\n", Escaped(&fact.name), Escaped(&fact.value)));
    }
    put(
        page,
        format_args!(
            "<div class=\"wide\"><dt>Command</dt><dd><code>{}</code></dd></div>\n</dl>\n",
            Escaped(&command_text(&report.command))
        ),
    );
}

/// The facts of several reports: those in which they differ, and then those that they share.
pub(super) fn several(page: &mut String, subjects: &[Subject<'_>]) {
    let columns: Vec<Vec<Fact>> = subjects
        .iter()
        .map(|subject| {
            let mut facts = facts(subject.report);
            facts.push(Fact { name: "Command".to_owned(), value: command_text(&subject.report.command) });
            facts
        })
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for fact in columns.iter().flatten() {
        if !names.contains(&fact.name.as_str()) {
            names.push(&fact.name);
        }
    }
    let value = |column: &'_ Vec<Fact>, name: &str| {
        column.iter().find(|fact| fact.name == name).map_or(String::new(), |fact| fact.value.clone())
    };
    page.push_str("<section>\n<h2>What was run</h2>\n<table class=\"run\">\n<thead><tr><td></td>");
    for (index, subject) in subjects.iter().enumerate() {
        put(page, format_args!("<th scope=\"col\">{}</th>", badge(index, subject)));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    let is_shared = |name: &&&str| columns.iter().all(|column| value(column, name) == value(&columns[0], name));
    for name in names.iter().filter(|name| !is_shared(name)) {
        put(page, format_args!("<tr><th scope=\"row\">{}</th>", Escaped(name)));
        for column in &columns {
            put(page, format_args!("<td>{}</td>", Escaped(&value(column, name))));
        }
        page.push_str("</tr>\n");
    }
    for name in names.iter().filter(is_shared) {
        put(
            page,
            format_args!(
                "<tr class=\"shared\"><th scope=\"row\">{}</th><td colspan=\"{}\">{}</td></tr>\n",
                Escaped(name),
                subjects.len(),
                Escaped(&value(&columns[0], name))
            ),
        );
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

/// A command as a shell takes it.
fn command_text(command: &[String]) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_./:=,@%+-".contains(character);
    let quoted = command.iter().map(|word| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_given_to_a_shell_again() {
        let command = ["bench", "--rate=12000", "", "a run", "it's", "$HOME"].map(str::to_owned);
        assert_eq!(command_text(&command), r"bench --rate=12000 '' 'a run' 'it'\''s' '$HOME'");
    }
}
