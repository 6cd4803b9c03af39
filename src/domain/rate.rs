//! Kinds of requests that are counted apart, because each costs the station something else.

use super::failure::codes;

codes! {
    /// What a request is, as far as how often it may be made is concerned.
    RateClass {
        /// A try to get in or to prove who one is; counted by address alone.
        SignIn = "sign-in",
        Read = "read",
        Write = "write",
        /// Starts a run, or executes one again.
        RunStart = "run-start",
        /// An agent's files, which are checked and compiled.
        Upload = "upload",
        /// Opens a socket or an event stream.
        Stream = "stream",
    }
}
