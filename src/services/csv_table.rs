//! Tables as CSV, for spreadsheets.

use super::Error;

/// Records as RFC 4180 has them.
///
/// # Errors
/// `Internal`; there is no reason why it should.
pub(super) fn records(write: impl FnOnce(&mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()>) -> Result<Vec<u8>, Error> {
    let internal = |error: &dyn std::fmt::Display| Error::Internal(error.to_string());
    let mut out = Vec::new();
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut out);
    write(&mut csv).map_err(|error| internal(&error))?;
    csv.flush().map_err(|error| internal(&error))?;
    drop(csv);
    Ok(out)
}

/// A cell that no spreadsheet takes for a formula.
pub(super) fn cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_like_a_formula() {
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert_eq!(cell(bad), format!("'{bad}"));
        }
        assert_eq!(cell("gpt-4o-mini"), "gpt-4o-mini");
    }
}
