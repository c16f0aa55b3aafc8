//! Where an operation's time goes: the mean of each stage on each core of the store, below what the client saw.

use std::collections::BTreeMap;

use super::super::histogram::Latencies;
use super::super::model::{OperationKind, RESIDENCY, Report, STAGES};
use super::super::words::{count_text, duration_text};
use super::axis::Axis;
use super::escape::Escaped;
use super::percentiles::tick_text;
use super::picture::{WIDTH, begin, line, rectangle, text, text_width};
use super::{Subject, put};

/// Where the bars lie.
const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 300.0;
const BAR: f64 = 24.0;
const ROW: f64 = 32.0;
const TOP: f64 = 8.0;

/// Cores by number, each with the times of its stages by name.
type Cores = BTreeMap<u16, BTreeMap<String, Latencies>>;

/// The section of a report, if the store said where the time goes.
pub(super) fn section(page: &mut String, subject: &Subject<'_>) {
    let operations = operations(subject.report);
    if operations.is_empty() {
        return;
    }
    page.push_str(
        "<section>\n<h2>Where the time goes</h2>\n\
         <p class=\"about\">Mean times. The store measured its stages from the last byte in to the last byte out; what the client saw \
         beyond that, once an operation was sent, is the network and the kernels on both sides. Bars have the means over all operations of a \
         core, tables those over the operations that passed a stage.</p>\n",
    );
    for (name, cores) in &operations {
        put(page, format_args!("<figure class=\"stages\">\n<figcaption>{}</figcaption>\n", Escaped(name)));
        let stages = stage_names(cores);
        page.push_str(&bars(name, cores, &stages, client(subject, name)));
        table(page, cores, &stages);
        page.push_str("</figure>\n");
    }
    page.push_str("</section>\n");
}

/// What the client saw of the operations that a name of the store's stands for.
struct Client {
    /// The name of the kind, or of the kinds.
    name: &'static str,
    /// The mean from sending to the answer, nanoseconds.
    service: f64,
    /// The mean from the intended time of sending, nanoseconds.
    latency: f64,
}

/// All repetitions put together: operations by name, each core by core.
fn operations(report: &Report) -> BTreeMap<String, Cores> {
    let mut operations: BTreeMap<String, Cores> = BTreeMap::new();
    let servers = report.repetitions.iter().filter_map(|repetition| repetition.server.as_ref());
    for core in servers.flat_map(|server| &server.cores) {
        for (operation, stages) in &core.operations {
            let sums = operations.entry(operation.clone()).or_default().entry(core.core).or_default();
            for (stage, times) in stages {
                sums.entry(stage.clone()).or_default().add(times);
            }
        }
    }
    operations.retain(|_, cores| cores.values().any(|stages| stages.values().any(|times| times.count() > 0)));
    operations
}

/// The stages of an operation in their order.
fn stage_names(cores: &Cores) -> Vec<String> {
    let mut names: Vec<String> =
        cores.values().flat_map(BTreeMap::keys).filter(|name| *name != RESIDENCY).cloned().collect();
    names.sort();
    names.dedup();
    let place = |name: &String| STAGES.iter().position(|known| known == name).unwrap_or(STAGES.len());
    names.sort_by_key(place);
    names
}

/// The number of a stage's colour: the same for all operations, whichever stages they have.
fn colour(stages: &[String], stage: &str) -> usize {
    const COLOURS: usize = 8;
    let known = STAGES.iter().position(|known| *known == stage);
    let unknown = || stages.iter().position(|other| other == stage).unwrap_or_default();
    known.unwrap_or_else(|| STAGES.len() + unknown()) % COLOURS
}

/// The kinds of operations that a name of the store's stands for, put together.
fn client(subject: &Subject<'_>, operation: &str) -> Option<Client> {
    let (name, kinds): (_, &[OperationKind]) = match operation.to_ascii_lowercase().as_str() {
        "get" | "read" => ("read", &[OperationKind::Read]),
        "put" | "set" | "write" => ("write", &[OperationKind::Update, OperationKind::Insert]),
        "update" => ("update", &[OperationKind::Update]),
        "insert" => ("insert", &[OperationKind::Insert]),
        "scan" | "range" => ("scan", &[OperationKind::Scan]),
        _ => return None,
    };
    let (mut latency, mut service) = (Latencies::default(), Latencies::default());
    for totals in kinds.iter().filter_map(|kind| subject.summary.kinds.get(kind)) {
        latency.add(&totals.measured.latency);
        service.add(&totals.measured.service);
    }
    (latency.count() > 0).then(|| Client { name, service: service.mean(), latency: latency.mean() })
}

/// The mean time between the last byte in and the last byte out: as the store says, or else the sum of the stages.
fn residency(stages: &BTreeMap<String, Latencies>) -> f64 {
    stages.get(RESIDENCY).map_or_else(|| stages.values().map(Latencies::mean).sum(), Latencies::mean)
}

/// Operations of a core.
fn count(stages: &BTreeMap<String, Latencies>) -> u64 {
    stages.get(RESIDENCY).or_else(|| stages.values().max_by_key(|times| times.count())).map_or(0, Latencies::count)
}

/// What a stage adds to the mean residency of a core: its mean over all operations, also those that did not pass it.
fn part_of_residency(stages: &BTreeMap<String, Latencies>, stage: &str) -> f64 {
    stages.get(stage).map_or(0.0, |times| times.mean() * times.count() as f64 / count(stages).max(1) as f64)
}

/// The mean residency over all cores.
fn residency_of_all(cores: &Cores) -> f64 {
    let total: u64 = cores.values().map(count).sum();
    let sum: f64 = cores.values().map(|stages| residency(stages) * count(stages) as f64).sum();
    sum / total.max(1) as f64
}

/// A part of a bar.
struct Part<'a> {
    name: &'a str,
    class: String,
    nanoseconds: f64,
}

/// Draws the client's bar and that of each core, all on one axis.
fn bars(operation: &str, cores: &Cores, stages: &[String], client: Option<Client>) -> String {
    let longest = cores.values().map(residency).chain(client.iter().map(|client| client.service)).fold(1.0, f64::max);
    let x = Axis::linear(0.0, longest, LEFT, RIGHT);
    let rows = cores.len() + usize::from(client.is_some());
    let bottom = TOP + ROW * rows as f64;
    let mut svg = begin(bottom + 28.0, &description(operation, cores, stages, client.as_ref()), None);
    for tick in x.ticks(6.0) {
        line(&mut svg, "grid", (x.at(tick), TOP), (x.at(tick), bottom));
        let label = if tick == 0.0 { "0".to_owned() } else { tick_text(tick) };
        text(&mut svg, "tick middle", (x.at(tick), bottom + 18.0), &label);
    }
    let mut top = TOP;
    if let Some(client) = client {
        let inside = residency_of_all(cores);
        let network = (client.service - inside).max(0.0);
        let parts = [
            Part { name: "in the store", class: "part inside".to_owned(), nanoseconds: inside },
            Part { name: "network", class: "part network".to_owned(), nanoseconds: network },
        ];
        // Waiting to be sent is no part of the bar: where the store stalls it is so long that nothing else could be seen.
        let waited = client.latency - client.service;
        let waiting = if waited >= client.latency / 1e3 {
            format!(", and {} waiting to be sent", duration_text(waited))
        } else {
            String::new()
        };
        bar(&mut svg, &x, top, "client", &parts, &format!("{}{waiting}", duration_text(client.service)));
        top += ROW;
    }
    for (core, times) in cores {
        let parts: Vec<Part<'_>> = stages
            .iter()
            .map(|stage| {
                let nanoseconds = part_of_residency(times, stage);
                Part { name: stage, class: format!("part s{}", colour(stages, stage)), nanoseconds }
            })
            .filter(|part| part.nanoseconds > 0.0)
            .collect();
        bar(&mut svg, &x, top, &format!("core {core}"), &parts, &duration_text(residency(times)));
        top += ROW;
    }
    svg.push_str("</svg>\n");
    svg
}

/// A bar: its name, its parts with their names where they fit, and the whole at its end.
fn bar(svg: &mut String, x: &Axis, top: f64, name: &str, parts: &[Part<'_>], whole: &str) {
    let (top, bottom) = (top + (ROW - BAR) / 2.0, top + f64::midpoint(ROW, BAR));
    let baseline = f64::midpoint(top, bottom) + 4.0;
    text(svg, "row end", (LEFT - 10.0, baseline), name);
    let mut begin = 0.0;
    for part in parts {
        let (from, to) = (x.at(begin), x.at(begin + part.nanoseconds));
        let value = duration_text(part.nanoseconds);
        // A hair of the page between two parts tells them apart without their colours.
        rectangle(
            svg,
            &part.class,
            (from, top),
            (f64::max(to - 1.5, from), bottom),
            &format!("{}: {value}", part.name),
        );
        let both = format!("{} {value}", part.name);
        let label = [both.as_str(), part.name].into_iter().find(|label| text_width(label) + 8.0 < to - from);
        if let Some(label) = label {
            text(svg, &format!("inside-{}", part.class.trim_start_matches("part ")), (from + 6.0, baseline), label);
        }
        begin += part.nanoseconds;
    }
    text(svg, "value", (x.at(begin) + 8.0, baseline), whole);
}

/// The most cores of which a table shows the tails too.
const CORES_WITH_TAILS: usize = 3;

/// The same as numbers, of a few cores with the tails that a mean hides.
fn table(page: &mut String, cores: &Cores, stages: &[String]) {
    let names: &[&str] = if cores.len() <= CORES_WITH_TAILS { &["mean", "p99", "max"] } else { &["mean"] };
    page.push_str("<div class=\"scroll\">\n<table class=\"numbers\">\n<thead><tr><td></td>");
    for core in cores.keys() {
        put(page, format_args!("<th scope=\"colgroup\" colspan=\"{}\">core {core}</th>", names.len()));
    }
    page.push_str("</tr>\n<tr><th scope=\"col\">stage</th>");
    for name in names.repeat(cores.len()) {
        put(page, format_args!("<th scope=\"col\">{name}</th>"));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for stage in stages {
        let colour = colour(stages, stage);
        put(page, format_args!("<tr><th scope=\"row\"><i class=\"swatch s{colour}\"></i>{}</th>", Escaped(stage)));
        cells(page, cores, stage, names.len());
    }
    page.push_str("<tr class=\"sum\"><th scope=\"row\">residency</th>");
    cells(page, cores, RESIDENCY, names.len());
    page.push_str("<tr><th scope=\"row\">operations</th>");
    for times in cores.values() {
        put(page, format_args!("<td colspan=\"{}\">{}</td>", names.len(), count_text(count(times))));
    }
    page.push_str("</tr>\n</tbody>\n</table>\n</div>\n");
}

/// The first `count` figures of a stage on each core, to the end of the row.
fn cells(page: &mut String, cores: &Cores, stage: &str, count: usize) {
    for times in cores.values() {
        let times = times.get(stage).filter(|times| times.count() > 0);
        let figures = times.map(|times| [times.mean(), times.quantile(0.99) as f64, times.max() as f64]);
        for index in 0..count {
            let text = figures.map_or(String::new(), |figures| duration_text(figures[index]));
            put(page, format_args!("<td>{text}</td>"));
        }
    }
    page.push_str("</tr>\n");
}

/// The picture in words.
fn description(operation: &str, cores: &Cores, stages: &[String], client: Option<&Client>) -> String {
    let mut words = format!("Mean time of {operation} by stage.");
    if let Some(client) = client {
        put(
            &mut words,
            format_args!(
                " The client's {} took {} from sending, of which {} in the store.",
                client.name,
                duration_text(client.service),
                duration_text(residency_of_all(cores))
            ),
        );
    }
    for (core, times) in cores {
        let parts = stages.iter().map(|stage| (stage, part_of_residency(times, stage)));
        let parts = parts.filter(|(_, nanoseconds)| *nanoseconds > 0.0);
        let parts = parts.map(|(stage, nanoseconds)| format!("{stage} {}", duration_text(nanoseconds)));
        put(&mut words, format_args!(" Core {core}: {}.", parts.collect::<Vec<_>>().join(", ")));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_come_in_the_order_in_which_they_are_passed() {
        let stages = ["reply", "zebra", "queue", "residency", "sync", "ant"];
        let stages = stages.map(|name| (name.to_owned(), Latencies::default()));
        let cores = Cores::from([(0, BTreeMap::from(stages))]);
        assert_eq!(stage_names(&cores), ["queue", "sync", "reply", "ant", "zebra"]);
    }

    #[test]
    fn a_stage_has_one_colour_whatever_the_operation() {
        let [get, put] = [&["queue", "apply", "reply"][..], &["queue", "append", "sync", "apply", "reply"][..]];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for stage in get {
            assert_eq!(colour(&names(get), stage), colour(&names(put), stage), "{stage}");
        }
        let colours: std::collections::BTreeSet<_> = put.iter().map(|stage| colour(&names(put), stage)).collect();
        assert_eq!(colours.len(), put.len());
    }

    /// One operation of a hundred waits 100 µs, and all are handled in 9 µs: that is a bar of 10 µs, and not of 109.
    #[test]
    fn a_stage_that_few_operations_pass_has_its_share_of_a_bar() {
        let times = |nanoseconds, count| {
            let mut times = Latencies::default();
            times.record_n(nanoseconds, count);
            times
        };
        let mut residency = times(9_000, 99);
        residency.record(109_000);
        let stages = [("wait", times(100_000, 1)), ("apply", times(9_000, 100)), (RESIDENCY, residency)];
        let cores = Cores::from([(0, stages.map(|(name, times)| (name.to_owned(), times)).into())]);
        let svg = bars("get", &cores, &stage_names(&cores), None);
        assert!(svg.contains("wait: 1.00 µs") && svg.contains("apply: 9.00 µs"), "{svg}");
        assert!(svg.contains("wait 1.00 µs, apply 9.00 µs"), "{svg}");
    }
}
