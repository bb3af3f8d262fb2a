//! Owns: what Tab offers in the command line: commands, keys, values, policies.
//! Must not know: how the line is edited or drawn.
//! Invariant: every completion is a line that the parser accepts, or the beginning of one.

use super::command_list::COMMANDS;
use crate::config::{Config, ConfigKey, Mutability};
use crate::policy::grammar;

/// Returns the completions of the last word of `text`; `config` is the current config, for values.
pub fn completions(text: &str, config: Option<&Config>) -> Vec<String> {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        [word] => starting_with(word, COMMANDS.iter().map(|(name, _)| format!("{name} "))),
        ["set", word] => starting_with(word, live_keys().map(|key| key.path() + " ")),
        ["fork", _, .., word] if !word.contains('=') => starting_with(word, Config::keys().map(|key| key.path() + "=")),
        ["set", key, word] => Config::find_key(key).map_or_else(Vec::new, |key| value_completions(key, word, config)),
        ["policy", word] => grammar::completions(word),
        _ => Vec::new(),
    }
}

/// Returns the allowed values of a key with choices, else its current value in place of an empty word.
fn value_completions(key: &ConfigKey, word: &str, config: Option<&Config>) -> Vec<String> {
    let choices = key.kind.choices();
    match (choices, word, config) {
        ([], "", Some(config)) => vec![config.value(key).to_string()],
        (choices, word, _) => starting_with(word, choices.iter().map(|choice| (*choice).to_owned())),
    }
}

fn starting_with(word: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    all.filter(|candidate| candidate.starts_with(word)).collect()
}

pub fn live_keys() -> impl Iterator<Item = &'static ConfigKey> {
    Config::keys().filter(|key| key.mutability == Mutability::Live)
}

/// Returns the longest text that all `candidates` begin with.
pub fn common_prefix(candidates: &[String]) -> &str {
    let Some(first) = candidates.first() else { return "" };
    let shared = |end: usize, other: &String| {
        let same = first.char_indices().zip(other.chars()).take_while(|((at, a), b)| *at < end && a == b);
        same.last().map_or(0, |((at, c), _)| at + c.len_utf8())
    };
    &first[..candidates.iter().fold(first.len(), shared)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_prefix_ends_where_candidates_differ() {
        let prefix =
            |words: &[&str]| common_prefix(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).to_owned();
        assert_eq!(prefix(&["entropy_at", "entropy_next"]), "entropy_");
        assert_eq!(prefix(&["äb", "äc", "ä"]), "ä");
        assert_eq!((prefix(&["a", "b"]), prefix(&[])), (String::new(), String::new()));
    }

    #[test]
    fn a_policy_is_completed_by_its_name_and_keys() {
        assert_eq!(completions("policy ", None), ["never", "fixed:", "entropy:", "trend:"]);
        assert_eq!(completions("policy entropy:start=1,st", None), ["entropy:start=1,stop="]);
        assert_eq!(completions("policy trend:at=", None), ["trend:at=next", "trend:at=own"]);
        assert!(completions("policy never:", None).is_empty());
    }
}
