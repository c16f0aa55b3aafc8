//! The table of `docs/pitfalls.md` is true: each scenario has a test, which names it.

use std::path::Path;

/// Scenarios that there are; the table has each of them once, in order.
const SCENARIOS: u32 = 43;

/// Whether a text names a scenario by its number, and not only one whose number begins with the same digits.
fn names(text: &str, number: u32) -> bool {
    let name = format!("PITFALL {number}");
    text.match_indices(&name)
        .any(|(place, _)| !text[place + name.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

#[test]
fn each_scenario_has_a_test_that_names_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let table = std::fs::read_to_string(root.join("docs/pitfalls.md")).expect("the table is there");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells[0].parse::<u32>().is_ok())
        .collect();
    let numbers: Vec<u32> = rows.iter().map(|cells| cells[0].parse().expect("filtered above")).collect();
    assert_eq!(numbers, (1..=SCENARIOS).collect::<Vec<_>>(), "the table has each scenario once, in order");
    for (number, cells) in numbers.into_iter().zip(rows) {
        let [_, what, path, test] = cells[..] else { panic!("scenario {number} has {} cells", cells.len()) };
        assert!(!what.is_empty());
        let path = path.trim_matches('`');
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(names(&text, number), "{path} does not name PITFALL {number}");
        if test != "the transcript" {
            let test = test.trim_matches('`');
            let is_there = ["fn ", "async fn "].iter().any(|kind| text.contains(&format!("{kind}{test}()")));
            assert!(is_there, "{path} has no test {test}, which PITFALL {number} needs");
        }
    }
}

#[test]
fn a_number_is_not_found_in_a_longer_one() {
    assert!(names("see PITFALL 4: as", 4) && names("PITFALL 4", 4) && names("PITFALL 41, PITFALL 4.", 4));
    assert!(!names("PITFALL 41", 4) && !names("", 4));
}
