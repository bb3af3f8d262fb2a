//! Owns: the text form of policies, such as `entropy:start=1.5,stop=0.5,most=8`.
//! Must not know: what a policy does.
//! Invariant: parsing the text of a policy gives the same policy.

use super::switch::{EntropyPolicy, FixedPolicy, LatentPosition, Policy, ThoughtBounds, ThoughtStarts, TrendPolicy};
use super::threshold::Threshold;
use std::fmt;
use std::str::FromStr;

/// Help text with the grammar of policies.
pub const POLICY_HELP: &str = "\
never                                   plain decoding
fixed:count=6[,at=0+5][,after=TOKEN][,bot=TOKEN][,eot=TOKEN]
                                        6 latents after 0 and 5 generated tokens (inserted ones count), or
                                        after each TOKEN; bot is inserted before them, eot after them.
                                        TOKEN is an id, or a token's text in the tokenizer
entropy:start=1.5,stop=0.5              latents from an entropy of start on, until it is below stop; in nats
                                        (1.5), of ln V (0.2lnV) or as a quantile of past entropies (q0.9)
trend:dwell=2                           latents while the entropy is above that of the last switch, at least
                                        dwell tokens apart (SwiReasoning, arXiv 2510.05069)
entropy and trend also take             least=1 and most=8 latents per thought, all=N latents in total, and
                                        at=next|own: recycle the uncertain state, or the state before it in
                                        place of its token";

const POLICY_NAMES: [&str; 4] = ["never", "fixed", "entropy", "trend"];
/// The values of the key `at` of policies that decide by entropy.
const POSITIONS: [&str; 2] = ["next", "own"];

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Fixed(FixedPolicy { count, starts, bot, eot }) => {
                write!(f, "fixed:count={count}")?;
                match starts {
                    ThoughtStarts::TokenCounts(counts) => {
                        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
                        write!(f, ",at={}", counts.join("+"))?;
                    }
                    ThoughtStarts::AfterToken(id) => write!(f, ",after={id}")?,
                }
                for (name, id) in [("bot", bot), ("eot", eot)] {
                    if let Some(id) = id {
                        write!(f, ",{name}={id}")?;
                    }
                }
                Ok(())
            }
            Self::Entropy(EntropyPolicy { start, stop, bounds, position }) => {
                write!(f, "entropy:start={start},stop={stop},{}", SharedKeys(*bounds, *position))
            }
            Self::Trend(TrendPolicy { dwell, bounds, position }) => {
                write!(f, "trend:dwell={dwell},{}", SharedKeys(*bounds, *position))
            }
        }
    }
}

/// The keys that `entropy` and `trend` share.
struct SharedKeys(ThoughtBounds, LatentPosition);

impl fmt::Display for SharedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ThoughtBounds { min_latents: min, max_latents: max, max_total_latents: max_total }, position) = self;
        write!(f, "least={min},most={max}")?;
        if let Some(max_total) = max_total {
            write!(f, ",all={max_total}")?;
        }
        f.write_str(if *position == LatentPosition::InPlace { ",at=own" } else { ",at=next" })
    }
}

impl FromStr for Policy {
    type Err = String;

    /// Parses a policy whose tokens are given as ids.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse_with_tokens(text, &|_| None)
    }
}

impl Policy {
    /// Parses a policy whose tokens are given as ids, or as texts that `token_id` maps to ids. An error names the
    /// part of `text` that is not valid, and what is allowed.
    pub fn parse_with_tokens(text: &str, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<Self, String> {
        let (name, rest) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let mut keys = PolicyKeys::split(name, rest)?;
        let policy = keys.take_policy(token_id)?;
        keys.finish()?;
        Ok(policy)
    }
}

/// Returns the completions of the beginning of a policy: names, then keys, then values if a key has a choice of them.
pub fn completions(text: &str) -> Vec<String> {
    let Some((name, rest)) = text.split_once(':') else {
        let names = POLICY_NAMES.iter().filter(|name| name.starts_with(text));
        return names
            .map(|name| if known_keys(name).is_empty() { (*name).into() } else { format!("{name}:") })
            .collect();
    };
    let (before, last) =
        rest.rsplit_once(',').map_or((String::new(), rest), |(before, last)| (format!("{before},"), last));
    let choices = match last.split_once('=') {
        Some(("at", _)) if name != "fixed" => POSITIONS.map(|value| format!("at={value}")).to_vec(),
        Some(_) => Vec::new(),
        None => {
            let is_set =
                |key: &&str| before.split(',').any(|pair| pair.split_once('=').is_some_and(|(set, _)| set == *key));
            known_keys(name).iter().filter(|key| !is_set(key)).map(|key| format!("{key}=")).collect()
        }
    };
    let complete = |choice: String| choice.starts_with(last).then(|| format!("{name}:{before}{choice}"));
    choices.into_iter().filter_map(complete).collect()
}

/// Returns the keys of the policy `name`; none if there is no such policy.
fn known_keys(name: &str) -> Vec<&'static str> {
    let mut keys = PolicyKeys { policy: name, pairs: Vec::new(), known: Vec::new() };
    match keys.take_policy(&|_| None) {
        Ok(_) => keys.known,
        Err(_) => Vec::new(),
    }
}

/// Returns the policy `text` with its threshold `start` changed, and everything else as it is written. `None`
/// if it has no valid `start`.
pub fn change_start(text: &str, change: impl Fn(Threshold) -> Threshold) -> Option<String> {
    let (name, keys) = text.split_once(':')?;
    let mut pairs: Vec<String> = keys.split(',').map(str::to_owned).collect();
    let is_start = |pair: &&mut String| pair.split_once('=').is_some_and(|(key, _)| key.trim() == "start");
    let start = pairs.iter_mut().find(is_start)?;
    let (_, value) = start.split_once('=')?;
    *start = format!("start={}", change(value.trim().parse().ok()?));
    Some(format!("{name}:{}", pairs.join(",")))
}

/// `key=value` pairs of a policy that have not been read yet.
struct PolicyKeys<'a> {
    policy: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
    /// Keys read so far: those that the policy knows.
    known: Vec<&'static str>,
}

impl<'a> PolicyKeys<'a> {
    /// Splits `text` into pairs. `policy` is the policy's name, for errors.
    fn split(policy: &'a str, text: &'a str) -> Result<Self, String> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let pair = |pair: &'a str| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{policy}: {pair:?} is not KEY=VALUE"))?;
            Ok((key.trim(), value.trim()))
        };
        Ok(Self { policy, pairs: pairs.map(pair).collect::<Result<_, String>>()?, known: Vec::new() })
    }

    /// Reads the policy of this name from its keys.
    fn take_policy(&mut self, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<Policy, String> {
        Ok(match self.policy {
            "never" => Policy::Never,
            "fixed" => Policy::Fixed(self.take_fixed(token_id)?),
            "entropy" => Policy::Entropy(EntropyPolicy {
                start: self.take_value("start")?.unwrap_or(Threshold::Nats(1.5)),
                stop: self.take_value("stop")?.unwrap_or(Threshold::Nats(0.5)),
                bounds: self.take_bounds()?,
                position: self.take_position()?,
            }),
            "trend" => Policy::Trend(TrendPolicy {
                dwell: self.take_value("dwell")?.unwrap_or(1),
                bounds: self.take_bounds()?,
                position: self.take_position()?,
            }),
            other => return Err(format!("unknown policy {other:?}; allowed: {}", POLICY_NAMES.join(", "))),
        })
    }

    fn take_text(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.push(key);
        let index = self.pairs.iter().position(|(name, _)| *name == key)?;
        Some(self.pairs.remove(index).1)
    }

    /// Parses and removes the value of `key`.
    fn take_value<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, String>
    where
        T::Err: fmt::Display,
    {
        let policy = self.policy;
        let parse = |value: &str| value.parse().map_err(|error| format!("{policy}: {key}={value}: {error}"));
        self.take_text(key).map(parse).transpose()
    }

    fn take_bounds(&mut self) -> Result<ThoughtBounds, String> {
        let min = self.take_value("least")?.unwrap_or(1);
        let max = self.take_value("most")?.unwrap_or(8.max(min));
        if min > max {
            return Err(format!("{}: least={min} is greater than most={max}", self.policy));
        }
        Ok(ThoughtBounds { min_latents: min, max_latents: max, max_total_latents: self.take_value("all")? })
    }

    fn take_position(&mut self) -> Result<LatentPosition, String> {
        match self.take_text("at") {
            None | Some("next") => Ok(LatentPosition::Next),
            Some("own") => Ok(LatentPosition::InPlace),
            Some(other) => Err(format!("{}: at={other} is not valid; allowed: {}", self.policy, POSITIONS.join(", "))),
        }
    }

    /// Removes the value of `key`, and returns the token id that it names.
    fn take_token(&mut self, key: &'static str, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<Option<u32>, String> {
        let policy = self.policy;
        let parse = |text: &str| {
            let id = text.parse().ok().or_else(|| token_id(text));
            id.ok_or_else(|| format!("{policy}: {key}={text} is neither an id nor a token of the tokenizer"))
        };
        self.take_text(key).map(parse).transpose()
    }

    fn take_fixed(&mut self, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<FixedPolicy, String> {
        let count = self.take_value("count")?.unwrap_or(6);
        let number = |text: &str| text.parse().map_err(|error| format!("fixed: at={text}: {error}"));
        let at = self.take_text("at").map(|text| text.split('+').map(number).collect::<Result<Vec<usize>, _>>());
        let starts = match (at.transpose()?, self.take_token("after", token_id)?) {
            (Some(_), Some(_)) => return Err("fixed: at and after exclude each other".into()),
            (_, Some(id)) => ThoughtStarts::AfterToken(id),
            (at, None) => ThoughtStarts::TokenCounts(at.unwrap_or_else(|| vec![0])),
        };
        Ok(FixedPolicy {
            count,
            starts,
            bot: self.take_token("bot", token_id)?,
            eot: self.take_token("eot", token_id)?,
        })
    }

    /// Fails if pairs are left: unknown or repeated keys.
    fn finish(self) -> Result<(), String> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) if self.known.contains(key) => Err(format!("{}: {key} is set twice", self.policy)),
            Some((key, _)) if self.known.is_empty() => {
                Err(format!("{}: unknown key {key}; {} has no keys", self.policy, self.policy))
            }
            Some((key, _)) => Err(format!("{}: unknown key {key}; allowed: {}", self.policy, self.known.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_parse_what_they_display() {
        for text in [
            "never",
            "fixed:count=6,at=0",
            "fixed:count=2,at=0+5,bot=3,eot=4",
            "fixed:count=2,after=17",
            "entropy:start=1.5,stop=0.5,least=1,most=8,at=next",
            "entropy:start=q0.9,stop=0.1lnV,least=2,most=3,all=20,at=own",
            "trend:dwell=4,least=0,most=8,at=next",
        ] {
            let policy: Policy = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
        }
        let shortest = ["fixed", "entropy", "trend"].map(|text| text.parse::<Policy>().unwrap().to_string());
        assert_eq!(shortest[0], "fixed:count=6,at=0");
        assert_eq!(shortest[1], "entropy:start=1.5,stop=0.5,least=1,most=8,at=next");
        assert_eq!(shortest[2], "trend:dwell=1,least=1,most=8,at=next");
    }

    #[test]
    fn tokens_may_be_texts_of_the_tokenizer() {
        let token_id = |text: &str| (text == "<bot>").then_some(12);
        let policy = Policy::parse_with_tokens("fixed:count=2,after=<bot>,bot=<bot>,eot=4", &token_id).unwrap();
        assert_eq!(policy.to_string(), "fixed:count=2,after=12,bot=12,eot=4");
        assert!(Policy::parse_with_tokens("fixed:eot=<eot>", &token_id).is_err());
    }

    #[test]
    fn invalid_parts_of_a_policy_are_named() {
        for (text, wanted) in [
            ("sometimes", "unknown policy \"sometimes\"; allowed: never, fixed, entropy, trend"),
            ("entropy:start=x", "entropy: start=x: \"x\" is not a threshold"),
            ("entropy:begin=1", "entropy: unknown key begin; allowed: start, stop, least, most, all, at"),
            ("entropy:start", "\"start\" is not KEY=VALUE"),
            ("entropy:start=1,start=2", "entropy: start is set twice"),
            ("entropy:least=9,most=8", "least=9 is greater than most=8"),
            ("entropy:at=here", "at=here is not valid; allowed: next, own"),
            ("never:most=3", "never: unknown key most; never has no keys"),
            ("fixed:at=1,after=2", "exclude each other"),
            ("fixed:at=1+x", "fixed: at=x"),
            ("fixed:bot=<bot>", "fixed: bot=<bot> is neither an id nor a token of the tokenizer"),
        ] {
            let found = text.parse::<Policy>().unwrap_err();
            assert!(found.contains(wanted), "{found}");
        }
    }
}
