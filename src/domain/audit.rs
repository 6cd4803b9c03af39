//! Every action that the audit log can name: a noun, a dot and a verb, and what it says to people.

/// An action and its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditAction {
    /// Stable, as stored, filtered and exported.
    pub code: &'static str,
    /// What somebody did.
    pub words: &'static str,
}

macro_rules! actions {
    ($($code:literal: $words:literal,)*) => {
        /// All of them, by noun. A test compares them with what the sources write.
        pub const ACTIONS: &[AuditAction] = &[$(AuditAction { code: $code, words: $words },)*];
    };
}

actions! {
    "access.denied": "Was refused",
    "agent.publish": "Published a version of an agent",
    "alias.remove": "Removed a model alias",
    "alias.set": "Set a model alias",
    "approval.decide": "Decided an approval",
    "audit.export": "Exported the audit log",
    "budget.cancel-held": "Stopped the runs that a budget held",
    "budget.change": "Changed a budget",
    "budget.create": "Made a budget",
    "budget.raise": "Raised a budget for a time",
    "budget.remove": "Removed a budget",
    "budget.resume-held": "Let the runs go on that a budget held",
    "channel.change": "Changed where alerts go",
    "channel.create": "Added where alerts go",
    "channel.remove": "Removed where alerts go",
    "channel.test": "Sent a test alert",
    "costs.export": "Exported what was spent",
    "key.create": "Made an API key",
    "key.revoke": "Revoked an API key",
    "key.rotate": "Made a new API key in place of an old one",
    "mail.test": "Sent a test mail",
    "master-key.rotate": "Replaced the master key",
    "member.change-role": "Changed a member’s role",
    "member.invite": "Invited somebody",
    "member.invite-again": "Sent an invitation again",
    "member.join": "Joined the organization",
    "member.leave": "Left the organization",
    "member.remove": "Removed a member",
    "member.uninvite": "Took back an invitation",
    "org.change-plan": "Changed the organization’s plan",
    "org.create": "Made the organization",
    "org.delete": "Asked for the organization to be deleted",
    "org.purge": "Deleted everything of an organization",
    "org.rename": "Renamed the organization",
    "org.restore": "Kept the organization that was to be deleted",
    "org.transfer": "Handed the organization over",
    "passkey.add": "Added a passkey",
    "passkey.remove": "Removed a passkey",
    "passkey.rename": "Renamed a passkey",
    "person.erase": "Erased a person",
    "person.export": "Exported what is kept about a person",
    "policy.change": "Changed the policy",
    "policy.deny": "Was refused by the policy",
    "price.remove": "Removed a price",
    "price.reprice": "Priced what was spent anew",
    "price.set": "Set a price",
    "provider.change": "Changed a model provider",
    "provider.create": "Added a model provider",
    "provider.remove": "Removed a model provider",
    "provider.test": "Tested a model provider",
    "recovery-codes.renew": "Made new recovery codes",
    "run.adopt": "Took over a run",
    "run.cancel": "Stopped a run",
    "run.discard": "Put a failed run away",
    "run.fork": "Forked a run",
    "run.pause": "Paused a run",
    "run.resume": "Resumed a run",
    "run.retry": "Tried a failed run again",
    "run.start-over": "Started a run over",
    "run.verify": "Verified a run",
    "secret.bind": "Changed who may use a secret",
    "secret.create": "Set a new secret",
    "secret.destroy": "Destroyed a version of a secret",
    "secret.remove": "Removed a secret",
    "secret.rotate": "Gave a secret a new value",
    "service.change-role": "Changed a service’s role",
    "service.create": "Made a service",
    "service.remove": "Removed a service",
    "service.rename": "Renamed a service",
    "session.prove": "Proved who they are",
    "session.revoke": "Signed a browser out",
    "session.revoke-others": "Signed all other browsers out",
    "session.second-step": "Gave a code at sign-in",
    "session.sign-in": "Signed in",
    "session.sign-in-by-link": "Signed in with a link",
    "session.sign-out": "Signed out",
    "session.switch": "Went to another organization",
    "station.set-up": "Set the station up",
    "totp.disable": "Removed the authenticator app",
    "totp.enable": "Set an authenticator app up",
    "user.change-email": "Changed their address",
    "user.change-password": "Changed their password",
    "user.create": "Made a user",
    "user.disable": "Shut somebody out of the station",
    "user.enable": "Let somebody in again",
    "user.rename": "Changed their name",
    "user.request-reset": "Asked for a new password",
    "user.reset-link": "Made a link to a new password",
    "user.reset-password": "Chose a new password with a link",
    "workspace.create": "Made a workspace",
    "workspace.delete": "Deleted a workspace",
    "workspace.rename": "Renamed a workspace",
}

/// The words of an action; of one that an older release wrote, its code.
pub fn in_words(code: &str) -> &str {
    ACTIONS
        .iter()
        .find(|action| action.code == code)
        .map_or(code, |action| action.words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_noun_and_a_verb_and_there_once() {
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let mut codes: Vec<_> = ACTIONS.iter().map(|action| action.code).collect();
        for code in &codes {
            let (noun, verb) = code.split_once('.').unwrap();
            assert!(word(noun) && word(verb), "{code}");
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ACTIONS.len());
        assert_eq!(in_words("key.create"), "Made an API key");
        assert_eq!(in_words("key.juggle"), "key.juggle");
    }
}
