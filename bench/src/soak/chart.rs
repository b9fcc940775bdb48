//! Lines over time as an SVG, one panel below the other.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 30.0;

/// Colours that stay apart for those who do not see red and green (Okabe and Ito).
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) name: &'static str,
    /// One for each time.
    pub(super) values: Vec<f64>,
}

/// The scale of a panel begins at 0, so that a slope looks as large as it is.
pub(super) fn svg(minutes: &[f64], panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (n, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", HEIGHT * n as f64);
        draw(&mut svg, minutes, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, minutes: &[f64], panel: &Panel) {
    let last = minutes.last().copied().unwrap_or_default().max(f64::MIN_POSITIVE);
    let values = panel.lines.iter().flat_map(|line| line.values.iter().copied());
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let x = |minute: f64| LEFT + minute / last * (right - LEFT);
    let y = |value: f64| bottom - value / most * (bottom - TOP);
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"20\" font-weight=\"bold\">{}</text>", panel.title);
    for quarter in 0..=4 {
        let (value, minute) = (most * f64::from(quarter) / 4.0, last * f64::from(quarter) / 4.0);
        let (across, along) = (y(value), x(minute));
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{across:.1}\" y2=\"{across:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <text x=\"{along:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} min</text>",
            LEFT - 6.0,
            across + 4.0,
            short(value),
            bottom + 18.0,
            short(minute)
        );
    }
    for ((n, line), colour) in panel.lines.iter().enumerate().zip(COLOURS) {
        let points = minutes.iter().zip(&line.values);
        let points: Vec<String> =
            points.map(|(minute, value)| format!("{:.1},{:.1}", x(*minute), y(*value))).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\n\
             <text x=\"{:.1}\" y=\"20\" fill=\"{colour}\">{}</text>",
            points.join(" "),
            right - 60.0 * (panel.lines.len() - n) as f64,
            line.name
        );
    }
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_is_at_the_top_and_nothing_at_the_bottom() {
        let panel =
            Panel { title: "memory", lines: vec![Line { name: "a", values: vec![0.0, 50.0, 100.0] }] };
        let svg = svg(&[0.0, 1.0, 2.0], &[panel]);
        assert!(svg.contains("points=\"70.0,190.0 465.0,112.0 860.0,34.0\""), "{svg}");
        assert!(svg.contains(">100</text>") && svg.contains(">2.00 min</text>"), "{svg}");
    }

    #[test]
    fn nothing_seen_is_an_empty_chart() {
        let svg = svg(&[], &[Panel { title: "memory", lines: vec![Line { name: "a", values: Vec::new() }] }]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
