//! Owns: pictures of the dashboard of several runs, as SVG or text, drawn from the reports of a reader.
//! Must not know: where the reports come from, files, terminals.
//! Invariant: the same reports and options give the same picture.

use super::snapshot::{SnapshotOptions, parse_keys};
use crate::schema::multi_run::MultiRunUpdate;
use crate::tui::multi_run::app::MultiRunApp;
use crate::tui::multi_run::input::MultiRunEffect;
use ratatui::layout::Rect;
use std::path::Path;

/// Returns a picture of the dashboard of several runs after `updates`, in the requested format. `dir` is named as the place
/// of the runs.
///
/// # Errors
/// Returns what is wrong with the keys.
pub fn draw(dir: &Path, updates: Vec<MultiRunUpdate>, options: &SnapshotOptions) -> Result<String, String> {
    let mut app = MultiRunApp { ascii: options.ascii, ..MultiRunApp::new(dir.to_owned(), options.theme()) };
    app.apply(updates);
    let screen = Rect::new(0, 0, options.size.0, options.size.1);
    for key in parse_keys(&options.keys)? {
        if app.handle_key(&key.to_event(), screen) != MultiRunEffect::None {
            return Err(format!("the key `{}` does more than change the picture", key.name()));
        }
    }
    let title = format!("several runs: {}", dir.display());
    Ok(options.encode(&app.render_to_buffer(options.size.0, options.size.1), &title))
}
