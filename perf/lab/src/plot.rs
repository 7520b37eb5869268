//! Plots that are read at a glance: a bar for each contender, with the middle half of its runs.

use crate::report::{Row, short};
use plotters::coord::Shift;
use plotters::prelude::*;
use sheave_testbeds::{Error, Result};
use std::path::Path;

const SIZE: (u32, u32) = (900, 60);
/// Height of a bar and the gap behind it.
const BAR: (i32, i32) = (26, 12);
const LEFT: i32 = 200;
const TOP: i32 = 60;
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const CEILING: RGBColor = RGBColor(0x88, 0x88, 0x88);
const PEERS: RGBColor = RGBColor(0xd0, 0x8a, 0x2e);

/// Writes `NAME.svg` and `NAME.png` with a bar for each row.
pub(crate) fn bars(directory: &Path, name: &str, title: &str, rows: &[Row]) -> Result<()> {
    let font =
        std::fs::read(FONT).map_err(|e| Error::new(format!("{FONT}: {e}: install fonts-dejavu-core")))?;
    // It is registered for the life of the process.
    let font: &'static [u8] = Box::leak(font.into_boxed_slice());
    let _ = plotters::style::register_font("sans-serif", FontStyle::Normal, font);
    let count = u32::try_from(rows.len()).unwrap_or(1);
    let size = (SIZE.0, SIZE.1 + 30 + count * u32::try_from(BAR.0 + BAR.1).unwrap_or(40));
    let (svg, png) = (directory.join(format!("{name}.svg")), directory.join(format!("{name}.png")));
    let failed = |error: &dyn std::fmt::Display| Error::new(format!("plot {name}: {error}"));
    let area = SVGBackend::new(&svg, size).into_drawing_area();
    draw(&area, title, rows).map_err(|e| failed(&e))?;
    area.present().map_err(|e| failed(&e))?;
    let area = BitMapBackend::new(&png, size).into_drawing_area();
    draw(&area, title, rows).map_err(|e| failed(&e))?;
    area.present().map_err(|e| failed(&e))
}

fn colour(who: &str) -> RGBColor {
    match who {
        _ if who.starts_with("sheave") => OURS,
        _ if who.starts_with("bare") || who.starts_with("nobody") => CEILING,
        _ => PEERS,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "places on a picture")]
fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    rows: &[Row],
) -> std::result::Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    area.fill(&WHITE)?;
    let text = ("sans-serif", 15).into_font().color(&BLACK);
    area.draw(&Text::new(title.to_owned(), (16, 18), ("sans-serif", 20).into_font().color(&BLACK)))?;
    let most = rows.iter().map(|row| row.high.max(row.median)).fold(f64::MIN_POSITIVE, f64::max);
    let width = f64::from(SIZE.0) - f64::from(LEFT) - 150.0;
    let place = |value: f64| LEFT + (value / most * width) as i32;
    for (row, n) in rows.iter().zip(0..) {
        let top = TOP + n * (BAR.0 + BAR.1);
        let middle = top + BAR.0 / 2;
        area.draw(&Text::new(row.who.clone(), (16, middle - 8), text.clone()))?;
        let bar = [(LEFT, top), (place(row.median), top + BAR.0)];
        area.draw(&Rectangle::new(bar, colour(&row.who).filled()))?;
        area.draw(&PathElement::new(
            [(place(row.low), middle), (place(row.high), middle)],
            BLACK.stroke_width(2),
        ))?;
        let value = format!("{} {}", short(row.median), row.unit);
        area.draw(&Text::new(value, (place(row.median.max(row.high)) + 8, middle - 8), text.clone()))?;
    }
    Ok(())
}
