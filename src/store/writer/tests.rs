//! What a failure means for the writes around it.

use rusqlite::ffi;

use super::*;

fn failure(code: std::ffi::c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

#[test]
fn only_an_io_error_in_a_commit_ends_all_writing() {
    assert!(is_fatal(&failure(ffi::SQLITE_IOERR_FSYNC)));
    assert!(is_fatal(&failure(ffi::SQLITE_IOERR_WRITE)));
    assert!(!is_fatal(&failure(ffi::SQLITE_FULL)));
    assert!(!is_fatal(&failure(ffi::SQLITE_BUSY)));
}

#[test]
fn a_lost_transaction_is_told_as_what_it_was_lost_to() {
    for (code, lost) in [
        (ffi::SQLITE_FULL, Lost::Full),
        (ffi::SQLITE_BUSY, Lost::Busy),
        (ffi::SQLITE_NOMEM, Lost::Other),
    ] {
        assert_eq!(Lost::of(&failure(code).into()), lost);
    }
    assert!(matches!(Lost::Full.into_error(), Error::Full));
}
