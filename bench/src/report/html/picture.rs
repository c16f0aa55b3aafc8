//! What all pictures share: lines, text, and a chooser among several pictures of one thing.

use serde_json::Value;

use super::escape::Escaped;
use super::put;

/// The width of every picture; the page shows it at this size where there is room.
pub(super) const WIDTH: f64 = 1120.0;
/// Colours, each with a dash of its own, so that lines are told apart without them.
pub(super) const COLOURS: usize = 6;

/// A picture among several of one thing.
pub(super) struct Variant {
    /// What its button says.
    pub(super) name: String,
    /// The picture.
    pub(super) svg: String,
    /// Whether it is on paper too, where nothing can be chosen.
    pub(super) is_printed: bool,
}

/// Puts pictures of one thing into a page, the first of them shown and the others behind buttons.
pub(super) fn variants(page: &mut String, id: &str, what: &str, variants: &[Variant]) {
    put(page, format_args!("<div class=\"variants\" role=\"group\" aria-label=\"{}\">\n", Escaped(what)));
    if variants.len() > 1 {
        for (index, variant) in variants.iter().enumerate() {
            let checked = if index == 0 { " checked" } else { "" };
            put(
                page,
                format_args!(
                    "<input type=\"radio\" class=\"choice choice-{index}\" name=\"{id}\" id=\"{id}-{index}\"{checked}>\
                     <label for=\"{id}-{index}\">{}</label>\n",
                    Escaped(&variant.name)
                ),
            );
        }
    }
    for (index, variant) in variants.iter().enumerate() {
        let only = if variants.len() == 1 { " only" } else { "" };
        let printed = if variant.is_printed { " printed" } else { "" };
        put(page, format_args!("<div class=\"variant variant-{index}{only}{printed}\">\n"));
        if variants.len() > 1 {
            put(page, format_args!("<p class=\"variant-name\">{}</p>\n", Escaped(&variant.name)));
        }
        page.push_str(&variant.svg);
        page.push_str("</div>\n");
    }
    page.push_str("</div>\n");
}

/// Begins a picture that is described in words, with what is shown under the pointer.
pub(super) fn begin(height: f64, description: &str, hover: Option<&Value>) -> String {
    let mut svg = String::new();
    put(
        &mut svg,
        format_args!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\"", Escaped(description)),
    );
    if let Some(hover) = hover {
        put(&mut svg, format_args!(" data-hover=\"{}\"", Escaped(&hover.to_string())));
    }
    svg.push_str(">\n");
    svg
}

/// A straight line.
pub(super) fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    put(
        svg,
        format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
            from.0, from.1, to.0, to.1
        ),
    );
}

/// A line through places; `None` is a gap.
pub(super) fn path(svg: &mut String, class: &str, places: impl IntoIterator<Item = Option<(f64, f64)>>) {
    put(svg, format_args!("<path class=\"{class}\" d=\""));
    let mut command = 'M';
    for place in places {
        command = match place {
            Some((x, y)) => {
                put(svg, format_args!("{command}{x:.1} {y:.1}"));
                'L'
            }
            None => 'M',
        };
    }
    svg.push_str("\"/>\n");
}

/// A rectangle with two corners, and a name that shows under the pointer.
pub(super) fn rectangle(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64), name: &str) {
    put(
        svg,
        format_args!(
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>\n",
            from.0,
            from.1,
            (to.0 - from.0).max(0.0),
            (to.1 - from.1).max(0.0),
            Escaped(name)
        ),
    );
}

/// Text at a place; the class says on which side of it.
pub(super) fn text(svg: &mut String, class: &str, at: (f64, f64), text: &str) {
    put(svg, format_args!("<text class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n", at.0, at.1, Escaped(text)));
}

/// About how wide text in pictures is.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.6
}
