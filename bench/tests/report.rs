//! Reports in the forms that people read: what is on them, and that they hold whatever a report says.

mod sample;

use std::collections::BTreeMap;

use corelode_bench::report::comparison::{FIGURES, between, interval_text, verdict_text};
use corelode_bench::report::histogram::Latencies;
use corelode_bench::report::model::{
    CoreStages, End, GeneratorCheck, Interval, Measured, OperationKind, Pace, Repetition, Report, ServerStages,
};
use corelode_bench::report::words::OPERATION_KINDS;
use corelode_bench::report::{html, terminal};
use corelode_bench::statistics::Verdict;

/// Times whose quantiles are known: 9,999 of `typical`, and one of `longest`, nanoseconds.
fn times(typical: u64, longest: u64) -> Latencies {
    let mut latencies = Latencies::default();
    latencies.record_n(typical, 9_999);
    latencies.record(longest);
    latencies
}

/// A repetition of two seconds.
fn repetition(typical: u64) -> Repetition {
    let read =
        Measured { latency: times(typical, 2_000_000), service: times(typical, 2_000_000), ..Measured::default() };
    let update = Measured {
        latency: times(3 * typical, 80_000_000),
        service: times(3 * typical, 70_000_000),
        errors: BTreeMap::from([("OVERLOADED".into(), 3), ("TIMEOUT".into(), 1)]),
        unanswered: 2,
        ..Measured::default()
    };
    Repetition {
        end: End::Complete,
        seconds: 2.0,
        unsent: 0,
        operations: BTreeMap::from([(OperationKind::Read, read), (OperationKind::Update, update)]),
        intervals: Vec::new(),
        generator: GeneratorCheck { busy_share: 0.5, late_p99: 9_000, late_max: 40_000, warning: None },
        server: None,
    }
}

/// A report with what a sample says of everything but the measurements.
fn report(pace: Pace, repetitions: Vec<Repetition>) -> Report {
    let shape = sample::Shape { seconds: 2.0, pace, ..sample::OPEN };
    Report { repetitions, ..sample::report(&shape) }
}

#[test]
fn a_summary_for_the_terminal() {
    let mut third = repetition(120_000);
    third.end = End::Lost("connection reset".into());
    third.generator.warning = Some("the busiest thread worked 97 % of its time".into());
    let mut second = repetition(110_000);
    second.operations.entry(OperationKind::Read).or_default().absent = 7;
    let open = terminal::summary(&report(sample::OPEN.pace, vec![repetition(100_000), second, third]));
    assert_eq!(open, include_str!("golden/open.txt"), "\n{open}");

    let closed = terminal::summary(&report(Pace::Closed, vec![repetition(100_000)]));
    assert_eq!(closed, include_str!("golden/closed.txt"), "\n{closed}");
}

/// Where a page is not well formed, if anywhere: every element that is opened is closed, in order, and attributes are quoted.
fn malformed(page: &str) -> Option<String> {
    const VOID: [&str; 4] = ["meta", "link", "input", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>")?;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let Some(end) = rest.find('>') else { return Some(format!("no end of <{rest}")) };
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if tag.matches('"').count() % 2 != 0 || tag.contains('<') {
            return Some(format!("broken tag <{tag}>"));
        }
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or("");
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Some(format!("</{name}> closes another element; open are {open:?}"));
            }
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
            // What is in these is not markup.
            if name == "script" || name == "style" {
                let Some(end) = rest.find(&format!("</{name}>")) else { return Some(format!("no end of {name}")) };
                rest = &rest[end..];
            }
        }
    }
    (!open.is_empty()).then(|| format!("open at the end: {open:?}"))
}

/// What every page must be: well formed, without anything to load, and without numbers that are none.
fn assert_sound(page: &str) {
    assert_eq!(malformed(page), None);
    for fetched in ["http://", "https://", "url(", "@import", " src=", "//cdn"] {
        assert!(!page.contains(fetched), "{fetched} is in the page");
    }
    let links: Vec<&str> = page.split(" href=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or("")).collect();
    assert_eq!(links, ["data:,"], "the page links to nothing");
    for broken in ["NaN", "inf", "=\"-0"] {
        assert!(!page.contains(broken), "{broken} is in the page");
    }
}

#[test]
fn pages_of_samples_are_sound() {
    let shapes = [&sample::OPEN, &sample::SLOWER, &sample::CLOSED];
    let reports = shapes.map(|shape| sample::report(&sample::Shape { seconds: 16.0, ..*shape }));
    for report in &reports {
        let page = html::render(std::slice::from_ref(report));
        assert_sound(&page);
        assert!(page.contains("Repetition 3: the busiest thread"));
        assert_eq!(page.contains("Closed loop: a stall keeps"), report.load.pace == Pace::Closed);
        assert_eq!(page.contains("Where the time goes"), report.repetitions[0].server.is_some());
    }
    let page = html::render(&reports);
    assert_sound(&page);
    assert!(page.contains("The reports differ in more than the store (load)"));
}

#[test]
fn text_of_a_report_is_never_markup() {
    const HOSTILE: &str = "</title></script><script>alert('1')</script><img src=x onerror=\"alert(2)\">&amp;";
    let mut report = report(Pace::Closed, vec![repetition(100_000), repetition(100_000)]);
    let fields = [
        &mut report.title,
        &mut report.started_at,
        &mut report.generator.version,
        &mut report.generator.commit,
        &mut report.machine.processor,
        &mut report.machine.kernel,
        &mut report.target.driver,
        &mut report.target.address,
        &mut report.target.server,
        &mut report.target.durability,
        &mut report.target.pinned_to,
        &mut report.workload.name,
        &mut report.workload.distribution,
        &mut report.load.pinned_to,
    ];
    for field in fields {
        *field = HOSTILE.to_owned();
    }
    report.command = vec![HOSTILE.to_owned()];
    report.target.settings = BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]);
    let first = &mut report.repetitions[0];
    first.end = End::Lost(HOSTILE.to_owned());
    first.generator.warning = Some(HOSTILE.to_owned());
    first.operations.entry(OperationKind::Read).or_default().errors = BTreeMap::from([(HOSTILE.to_owned(), 1)]);
    let stages = BTreeMap::from([(HOSTILE.to_owned(), times(10, 20))]);
    let operations = BTreeMap::from([(HOSTILE.to_owned(), stages)]);
    first.server = Some(ServerStages { cores: vec![CoreStages { core: 0, operations }] });

    for page in [html::render(std::slice::from_ref(&report)), html::render(&[report.clone(), report.clone()])] {
        assert_eq!(malformed(&page), None);
        assert_eq!(page.matches("<script>").count(), 1, "the page's own");
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("<img"));
        assert!(page.contains("&lt;/title&gt;&lt;/script&gt;&lt;script&gt;alert(&#39;1&#39;)"));
    }
}

#[test]
fn reports_with_little_in_them_are_shown_too() {
    let empty = Repetition {
        end: End::Interrupted,
        seconds: 0.0,
        unsent: 0,
        operations: BTreeMap::new(),
        intervals: vec![Interval::default()],
        generator: GeneratorCheck::default(),
        server: Some(ServerStages { cores: vec![CoreStages::default()] }),
    };
    let mut silent = empty.clone();
    silent.operations = OPERATION_KINDS.map(|kind| (kind, Measured::default())).into();
    silent.server = Some(ServerStages {
        cores: vec![CoreStages {
            core: 3,
            operations: BTreeMap::from([("GET".into(), BTreeMap::from([("queue".into(), Latencies::default())]))]),
        }],
    });
    let reports = [
        report(Pace::Closed, Vec::new()),
        report(Pace::Closed, vec![empty]),
        report(sample::OPEN.pace, vec![silent]),
        report(sample::OPEN.pace, vec![repetition(1)]),
    ];
    for report in &reports {
        assert_sound(&html::render(std::slice::from_ref(report)));
        let shown = terminal::summary(report);
        assert!(shown.contains("throughput"));
        // Nothing was not answered at once, and is no multiple of anything.
        assert!(!shown.contains(" 0 ns") && !shown.contains("inf") && !shown.contains("NaN"), "{shown}");
        assert!(!html::render(std::slice::from_ref(report)).contains(">0 ns<"));
        let is_empty = report.repetitions.is_empty();
        assert_eq!(html::render(std::slice::from_ref(report)).contains("Nothing was measured"), is_empty);
        assert_eq!(terminal::summary(report).contains("nothing was measured"), is_empty);
    }
    assert_sound(&html::render(&reports));
    assert_sound(&html::render(&[]));
}

#[test]
fn a_report_is_read_back_from_json() {
    let report = sample::report(&sample::Shape { seconds: 2.0, ..sample::OPEN });
    let text = serde_json::to_string(&report).expect("encodes");
    let read: Report = serde_json::from_str(&text).expect("decodes");
    // Not `assert_eq`: it would print each bucket of each histogram.
    assert!(read == report, "what was read differs from what was written");
}

/// Repetitions whose times do not vary at all.
fn steady(nanoseconds: u64, count: u64) -> Vec<Repetition> {
    let mut latency = Latencies::default();
    latency.record_n(nanoseconds, count);
    let read = Measured { latency: latency.clone(), service: latency, ..Measured::default() };
    let operations = BTreeMap::from([(OperationKind::Read, read)]);
    vec![Repetition { operations, ..repetition(1) }; 5]
}

/// A histogram cannot tell times apart that are closer than a thousandth, nor a count what lies between two of them.
#[test]
fn neighbours_in_a_histogram_are_no_difference() {
    let one = report(Pace::Closed, steady(100_000, 10_000));
    assert_eq!(Latencies::default().resolution_at(100_000), 64.0 / 100_000.0);
    let next = report(Pace::Closed, steady(100_064, 9_999));
    let found = between(&one, &next);
    let is_same = |name: &str| found.figures.iter().any(|figure| figure.name == name && figure.first == figure.second);
    assert!(!is_same("p99") && !is_same("requests a second"), "{found:?}");
    for figure in &found.figures {
        assert_eq!(figure.comparison.expect("enough of them").verdict(), Verdict::NoDifference, "{figure:?}");
    }
    let slower = report(Pace::Closed, steady(101_000, 9_900));
    for figure in &between(&one, &slower).figures {
        assert_ne!(figure.comparison.expect("enough of them").verdict(), Verdict::NoDifference, "{figure:?}");
    }
}

/// What the page says of two reports is what the terminal says.
#[test]
fn a_page_has_the_verdicts_of_the_one_comparison() {
    let values = |values: [u64; 4]| report(Pace::Closed, values.map(repetition).to_vec());
    let (first, second) = (values([100_000, 130_000, 80_000, 110_000]), values([120_000, 156_000, 96_000, 132_000]));
    let turns = |report: &Report| Report { turns: "a run".to_owned(), ..report.clone() };
    // By turns, what changed for both alike is taken out.
    for (first, second, is_in_turns) in [(first.clone(), second.clone(), false), (turns(&first), turns(&second), true)]
    {
        let found = between(&first, &second);
        assert_eq!((found.is_in_turns, found.repetitions), (is_in_turns, 4));
        assert_eq!(found.figures.map(|figure| figure.name), FIGURES);
        let page = html::render(&[first, second]);
        for figure in &found.figures {
            let comparison = figure.comparison.expect("enough of them");
            let is_latency = figure.name.starts_with('p');
            assert!(!is_latency || (comparison.verdict() == Verdict::More) == is_in_turns, "{figure:?}");
            let (words, interval) = (verdict_text(comparison.verdict(), figure.is_rate), interval_text(comparison));
            assert!(page.contains(&format!("<small>{words}</small><small>{interval}</small>")), "{figure:?}");
        }
    }
}

/// It took less time than the others, and ended in a way that they did not.
#[test]
fn a_repetition_that_was_cut_short_is_in_no_figure_beside_whole_ones() {
    let cut = |end: End| Repetition { end, seconds: 0.1, ..repetition(900_000) };
    let whole = [repetition(100_000), repetition(110_000)];
    let with_cut = report(Pace::Closed, [&whole[..], &[cut(End::Interrupted)]].concat());
    let shown = terminal::summary(&with_cut);
    assert!(shown.contains("2 × 2 s after 5 s of warm-up, and 1 cut short, which no figure has"), "{shown}");
    assert!(shown.contains("median of 2") && !shown.contains("900 µs"), "{shown}");
    assert!(html::render(std::slice::from_ref(&with_cut)).contains("3 (cut short)"));
    let alone = report(Pace::Closed, vec![cut(End::Lost("gone".into()))]);
    assert!(terminal::summary(&alone).contains("900 µs"), "better than nothing");
    assert!(between(&alone, &with_cut).figures.iter().all(|figure| figure.comparison.is_none()));
    // The second round is missing on one side, and the third on the other.
    let round = |repetitions: Vec<Repetition>| Report { turns: "run".into(), ..report(Pace::Closed, repetitions) };
    let one = round(vec![repetition(100_000), cut(End::Interrupted), repetition(120_000), repetition(110_000)]);
    let other = round(vec![repetition(100_000), repetition(100_000), cut(End::Interrupted), repetition(110_000)]);
    let found = between(&one, &other);
    assert_eq!(found.repetitions, 2);
    assert!(found.figures.iter().all(|figure| figure.first == figure.second), "{found:?}");
}
