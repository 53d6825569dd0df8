//! Drawings: axes, lines, dots and bars, as SVG text.

use super::record::short;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;
/// What is left free at the right where there is no legend.
const EDGE: f64 = 20.0;
/// Told apart by people who see colours differently, too (Okabe and Ito).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a00"];

/// How an axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// One axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    pub(super) scale: Scale,
}

/// Points that belong together.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot of points that are joined by lines.
pub(super) fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Option<String> {
    let points = || series.iter().flat_map(|one| one.points.iter());
    let across = Range::of(x.scale, points().map(|point| point.0))?;
    let up = Range::of(y.scale, points().map(|point| point.1))?;
    let at =
        |(x, y): (f64, f64)| (LEFT + across.place(x) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up.place(y) * (HEIGHT - TOP - BOTTOM));
    let mut out = open(title);
    for tick in across.ticks() {
        let (x, _) = at((tick, up.min));
        out.push_str(&format!("<path d='M{x:.1} {TOP}V{}' class='g'/>", HEIGHT - BOTTOM));
        out.push_str(&text(x, HEIGHT - BOTTOM + 18.0, "middle", &short(tick)));
    }
    up_ticks(&mut out, &up, WIDTH - RIGHT);
    out.push_str(&text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", &x.title));
    out.push_str(&upright(&y.title));
    for (number, one) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let places: Vec<(f64, f64)> = one.points.iter().map(|point| at(*point)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        if path.len() > 1 {
            out.push_str(&format!("<path d='M{}' fill='none' stroke='{colour}' stroke-width='1.5'/>", path.join("L")));
        }
        for ((x, y), value) in places.iter().zip(&one.points) {
            let said = escape(&format!("{}: {}, {}", one.name, short(value.0), short(value.1)));
            out.push_str(&format!("<circle cx='{x:.1}' cy='{y:.1}' r='3.5' fill='{colour}'><title>{said}</title></circle>"));
        }
        legend(&mut out, number, colour, &one.name);
    }
    Some(close(out))
}

/// A bar with its range for each name.
pub(super) fn bars(title: &str, unit: &str, bars: &[(String, f64, f64, f64)]) -> Option<String> {
    let up = Range::of(Scale::Linear, bars.iter().map(|bar| bar.3))?;
    let place = |value: f64| HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM);
    let step = (WIDTH - LEFT - EDGE) / bars.len() as f64;
    let mut out = open(title);
    up_ticks(&mut out, &up, WIDTH - EDGE);
    out.push_str(&upright(unit));
    for (number, (name, median, min, max)) in bars.iter().enumerate() {
        let (x, colour) = (LEFT + step * (number as f64 + 0.5), COLOURS[number % COLOURS.len()]);
        let width = (step * 0.6).min(60.0);
        let top = place(*median);
        out.push_str(&format!(
            "<rect x='{:.1}' y='{top:.1}' width='{width:.1}' height='{:.1}' fill='{colour}'/>",
            x - width / 2.0,
            HEIGHT - BOTTOM - top
        ));
        out.push_str(&format!("<path d='M{x:.1} {:.1}V{:.1}' stroke='#444'/>", place(*min), place(*max)));
        out.push_str(&text(x, place(*max) - 6.0, "middle", &short(*median)));
        let low = HEIGHT - BOTTOM + 14.0 + 13.0 * (number % 2) as f64;
        out.push_str(&text(x, low, "middle", name));
    }
    Some(close(out))
}

/// A column of named values for each name, one above the other.
pub(super) fn columns(title: &str, up: &Axis, columns: &[(String, Vec<(&str, f64)>)]) -> Option<String> {
    let range = Range::of(up.scale, columns.iter().flat_map(|(_, values)| values.iter().map(|(_, value)| *value)))?;
    let place = |value: f64| HEIGHT - BOTTOM - range.place(value) * (HEIGHT - TOP - BOTTOM);
    let step = (WIDTH - LEFT - EDGE) / columns.len() as f64;
    let mut out = open(title);
    up_ticks(&mut out, &range, WIDTH - EDGE);
    out.push_str(&upright(&up.title));
    for (number, (name, values)) in columns.iter().enumerate() {
        let (x, colour) = (LEFT + step * (number as f64 + 0.4), COLOURS[number % COLOURS.len()]);
        let path: Vec<String> = values.iter().map(|(_, value)| format!("{x:.1} {:.1}", place(*value))).collect();
        out.push_str(&format!("<path d='M{}' fill='none' stroke='{colour}' stroke-width='1.5'/>", path.join("L")));
        for (label, value) in values {
            let y = place(*value);
            out.push_str(&format!("<circle cx='{x:.1}' cy='{y:.1}' r='3.5' fill='{colour}'/>"));
            out.push_str(&text(x + 7.0, y + 4.0, "start", &format!("{label} {}", short(*value))));
        }
        let low = HEIGHT - BOTTOM + 14.0 + 13.0 * (number % 2) as f64;
        out.push_str(&text(x, low, "middle", name));
    }
    Some(close(out))
}

/// From where to where an axis goes.
struct Range {
    scale: Scale,
    min: f64,
    max: f64,
}

impl Range {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0)).collect();
        let (min, max) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
        Some(match scale {
            Scale::Linear => {
                let step = step(max.max(1e-9));
                Self { scale, min: 0.0, max: (max.max(1e-9) / step).ceil() * step }
            }
            Scale::Log => {
                Self { scale, min: 10f64.powf(min.log10().floor()), max: 10f64.powf(max.log10().ceil().max(min.log10().floor() + 1.0)) }
            }
        })
    }

    /// 0 at the one end, 1 at the other.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log => (value.max(self.min).log10() - self.min.log10()) / (self.max.log10() - self.min.log10()),
        }
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = step(self.max);
                (0..=(self.max / step).round() as usize).map(|number| number as f64 * step).collect()
            }
            Scale::Log => (self.min.log10().round() as i32..=self.max.log10().round() as i32).map(|power| 10f64.powi(power)).collect(),
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that about five steps reach the maximum.
fn step(max: f64) -> f64 {
    let power = 10f64.powf((max / 5.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| max / step <= 5.5).unwrap_or(10.0 * power)
}

fn up_ticks(out: &mut String, up: &Range, right: f64) {
    for tick in up.ticks() {
        let y = HEIGHT - BOTTOM - up.place(tick) * (HEIGHT - TOP - BOTTOM);
        out.push_str(&format!("<path d='M{LEFT} {y:.1}H{right}' class='g'/>"));
        out.push_str(&text(LEFT - 8.0, y + 4.0, "end", &short(tick)));
    }
}

fn legend(out: &mut String, number: usize, colour: &str, name: &str) {
    let y = TOP + 12.0 + 18.0 * number as f64;
    out.push_str(&format!("<circle cx='{}' cy='{}' r='4' fill='{colour}'/>", WIDTH - RIGHT + 16.0, y - 4.0));
    out.push_str(&text(WIDTH - RIGHT + 26.0, y, "start", name));
}

fn open(title: &str) -> String {
    // A background of its own: pages may be dark.
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>\
         <style>.g{{stroke:#ddd;fill:none}}</style><rect width='{WIDTH}' height='{HEIGHT}' fill='#fff'/>\
         <text x='{LEFT}' y='22' font-size='15'>{}</text>",
        escape(title)
    )
}

fn close(mut out: String) -> String {
    out.push_str("</svg>\n");
    out
}

fn text(x: f64, y: f64, anchor: &str, said: &str) -> String {
    format!("<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{}</text>", escape(said))
}

fn upright(said: &str) -> String {
    let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
    format!("<text x='16' y='{middle}' text-anchor='middle' transform='rotate(-90 16 {middle})'>{}</text>", escape(said))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_go_round_numbers_beyond_what_they_show() {
        assert_eq!(Range::of(Scale::Linear, [7.0, 93.0].into_iter()).unwrap().ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Range::of(Scale::Log, [0.3, 20.0].into_iter()).unwrap().ticks(), [0.1, 1.0, 10.0, 100.0]);
    }

    #[test]
    fn nothing_draws_nothing() {
        let axis = Axis { title: String::new(), scale: Scale::Log };
        assert_eq!(lines("t", &axis, &axis, &[]), None);
        assert_eq!(bars("t", "u", &[]), None);
    }
}
