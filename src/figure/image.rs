//! Owns: SVG to PNG and to PDF.
//! Must not know: what is drawn, where files are.
//! Invariant: text appears on machines without fonts too: the font is part of the program. The page is white.

use resvg::{tiny_skia, usvg};
use std::sync::{Arc, OnceLock};

/// Most pixels of an image.
const MAX_PIXELS: f64 = 1e8;
/// Pixels of an SVG to the inch of a PDF's page.
const PDF_PIXELS_PER_INCH: f32 = 96.0;

/// Why a drawing cannot be made an image.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    #[error("cannot read the SVG: {0}")]
    Svg(#[from] usvg::Error),
    #[error(
        "cannot make an image of {width} × {height} pixels at scale {scale}: at most {MAX_PIXELS} pixels, at least 1"
    )]
    Size { width: f32, height: f32, scale: f32 },
    #[error("cannot write the PNG: {0}")]
    Png(String),
    #[error("cannot write the PDF: {0}")]
    Pdf(String),
}

/// Draws an SVG as PNG on white, `scale` times as large as it says.
///
/// # Errors
/// `svg` is not SVG, or the image would have no pixel or more than 10⁸.
pub fn svg_to_png(svg: &str, scale: f32) -> Result<Vec<u8>, FigureError> {
    let tree = parse(svg)?;
    let (width, height) = (tree.size().width(), tree.size().height());
    let pixels = |length: f32| (f64::from(length) * f64::from(scale)).ceil();
    let refused = || FigureError::Size { width, height, scale };
    if !(pixels(width) >= 1.0 && pixels(height) >= 1.0 && pixels(width) * pixels(height) <= MAX_PIXELS) {
        return Err(refused());
    }
    let mut canvas = tiny_skia::Pixmap::new(pixels(width) as u32, pixels(height) as u32).ok_or_else(refused)?;
    canvas.fill(tiny_skia::Color::WHITE);
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut canvas.as_mut());
    canvas.encode_png().map_err(|error| FigureError::Png(error.to_string()))
}

/// Draws an SVG as a PDF of one page, with its text as text.
///
/// # Errors
/// `svg` is not SVG, or its text cannot be embedded.
pub fn svg_to_pdf(svg: &str) -> Result<Vec<u8>, FigureError> {
    let page = svg2pdf::PageOptions { dpi: PDF_PIXELS_PER_INCH };
    let pdf = svg2pdf::to_pdf(&parse(svg)?, svg2pdf::ConversionOptions::default(), page);
    pdf.map_err(|error| FigureError::Pdf(error.to_string()))
}

fn parse(svg: &str) -> Result<usvg::Tree, FigureError> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        let family = fonts.faces().next().and_then(|face| face.families.first().cloned());
        if let Some((family, _)) = family {
            fonts.set_sans_serif_family(family);
        }
        Arc::new(fonts)
    });
    let options = usvg::Options { fontdb: fonts.clone(), ..usvg::Options::default() };
    Ok(usvg::Tree::from_str(svg, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10">
        <style>@media (prefers-color-scheme: dark) { .a { fill: #00FF00 } }</style>
        <rect class="a" x="10" width="10" height="10" fill="#FF0000"/></svg>"##;

    #[test]
    fn an_image_has_the_scaled_size_and_light_colours_on_white() {
        let png = svg_to_png(SQUARE, 2.0).unwrap();
        let image = tiny_skia::Pixmap::decode_png(&png).unwrap();
        assert_eq!((image.width(), image.height()), (40, 20));
        let colour = |x, y| image.pixel(x, y).map(|pixel| (pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()));
        assert_eq!(colour(5, 5), Some((255, 255, 255, 255)));
        assert_eq!(colour(30, 5), Some((255, 0, 0, 255)));
    }

    #[test]
    fn text_is_drawn_without_fonts_of_the_machine() {
        let text = |letters: &str| {
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20" font-family="Helvetica, Arial, sans-serif"><text y="15">{letters}</text></svg>"#
            );
            tiny_skia::Pixmap::decode_png(&svg_to_png(&svg, 1.0).unwrap()).unwrap()
        };
        let dark = |letters: &str| text(letters).pixels().iter().filter(|pixel| pixel.red() < 128).count();
        assert_eq!(dark(""), 0);
        // A letter that the font lacks would be the same box each time.
        let forms: std::collections::BTreeSet<Vec<u8>> =
            "a⁻⁰¹²³⁴⁵⁶⁷⁸⁹−–·×…".chars().map(|letter| text(&letter.to_string()).take()).collect();
        assert_eq!(forms.len(), 17);
        assert!(dark("Loss") > 20);
    }

    #[test]
    fn a_pdf_is_one_and_wrong_input_is_refused() {
        let pdf = svg_to_pdf(SQUARE).unwrap();
        assert!(pdf.starts_with(b"%PDF") && pdf.len() > 500);
        assert!(matches!(svg_to_png("<svg", 1.0), Err(FigureError::Svg(_))));
        assert!(matches!(svg_to_pdf("no svg"), Err(FigureError::Svg(_))));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e6] {
            assert!(matches!(svg_to_png(SQUARE, scale), Err(FigureError::Size { .. })), "{scale}");
        }
    }
}
