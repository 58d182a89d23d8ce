//! The curves as an SVG drawing: a panel per case, what was read over time.

use std::fmt::Write;

use super::Run;
use super::curve::Curve;

const PANEL: (f64, f64) = (440.0, 230.0);
const MARGIN: (f64, f64) = (56.0, 44.0);
const COLOURS: [&str; 2] = ["#0b6e4f", "#b3541e"];
/// A panel ends where the slower program has this share of what can be read, plus a little.
const SHOWN_PER_MILLE: u64 = 999;
/// More points than pixels show nothing.
const POINTS: usize = 400;

/// The drawing.
pub(super) fn svg(runs: &[Run]) -> String {
    let panels: Vec<&[Run]> = runs.chunk_by(|one, other| one.case == other.case).collect();
    let rows = panels.len().div_ceil(2);
    let (width, height) = (
        2.0 * (PANEL.0 + MARGIN.0) + 20.0,
        rows as f64 * (PANEL.1 + MARGIN.1 * 2.0),
    );
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>"
    );
    for (at, panel) in panels.iter().enumerate() {
        let left = MARGIN.0 + (at % 2) as f64 * (PANEL.0 + MARGIN.0);
        let top = MARGIN.1 + (at / 2) as f64 * (PANEL.1 + MARGIN.1 * 2.0);
        draw(&mut out, panel, left, top);
    }
    out.push_str("</svg>\n");
    out
}

fn title(case: &str) -> &'static str {
    match case {
        "a" => "A: 500 lone bad sectors",
        "b" => "B: a dead zone of 8 MiB",
        "c" => "C: 16 MiB at 250 kB/s, 50 bad sectors in it",
        "d" => "D: 200 flaky sectors",
        "f, ext4" => "F: files of an ext4 volume, two dead zones",
        "f, FAT" => "F: files of a FAT volume, two dead zones",
        "e" => "E: the device goes away after 20 errors",
        _ => "",
    }
}

fn draw(out: &mut String, panel: &[Run], left: f64, top: f64) {
    let span = panel.iter().map(|run| span(&run.curve)).fold(1.0, f64::max);
    let (right, bottom) = (left + PANEL.0, top + PANEL.1);
    let case = panel.first().map_or("", |run| run.case);
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>\n\
         <path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#444\"/>",
        top - 10.0,
        title(case)
    );
    for share in [0_u32, 25, 50, 75, 100] {
        let y = bottom - PANEL.1 * f64::from(share) / 100.0;
        let _ = writeln!(
            out,
            "<path d=\"M{left} {y}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{share} %</text>",
            left - 5.0,
            y + 4.0
        );
    }
    for quarter in 0..=4_u32 {
        let x = left + PANEL.0 * f64::from(quarter) / 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{:.0} s</text>",
            bottom + 16.0,
            span * f64::from(quarter) / 4.0
        );
    }
    for (at, (run, colour)) in panel.iter().zip(COLOURS).enumerate() {
        let line = line(&run.curve, span, left, bottom);
        let _ = writeln!(
            out,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\" text-anchor=\"end\">{}</text>",
            right - 6.0,
            bottom - 10.0 - 16.0 * at as f64,
            run.program
        );
    }
}

fn span(curve: &Curve) -> f64 {
    let shown = curve
        .seconds_to(SHOWN_PER_MILLE)
        .unwrap_or(curve.total.as_secs_f64());
    shown * 1.05
}

fn line(curve: &Curve, span: f64, left: f64, bottom: f64) -> String {
    let step = (curve.points.len() / POINTS).max(1);
    let mut text = format!("{left:.1},{bottom:.1}");
    let last = curve.points.last();
    for (at, bytes) in curve.points.iter().step_by(step).chain(last) {
        let seconds = at.as_secs_f64().min(span);
        let x = left + PANEL.0 * seconds / span;
        let y = bottom - PANEL.1 * (*bytes as f64 / curve.recoverable_bytes as f64);
        let _ = write!(text, " {x:.1},{y:.1}");
    }
    text
}
