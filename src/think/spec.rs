//! Owns: policies as text, one way for command line, dashboard and records: `entropy:start=1.5,stop=0.5,most=8`.
//! Must not know: what a policy does.
//! Invariant: what is written is read as the same policy.

use super::policy::{At, Bounds, Entropy, Fixed, Places, Policy, Trend};
use super::threshold::Threshold;
use std::fmt;
use std::str::FromStr;

/// What a policy may look like, for help.
pub const POLICIES: &str = "\
never                                   plain decoding
fixed:count=6[,at=0+5][,after=TOKEN][,bot=TOKEN][,eot=TOKEN]
                                        6 latents behind the prompt, after so many tokens (marks count), or behind each
                                        TOKEN: an id, or its text in the tokenizer
entropy:start=1.5,stop=0.5              from a threshold on, until below another: nats (1.5), of ln V (0.2lnV), quantile (q0.9)
trend:dwell=2                           above the entropy of the last switch, until below it (SwiReasoning, arXiv 2510.05069)
entropy and trend take also             least=1 most=8 (latents a thought), all=N (in all), at=next|own (which state is
                                        recycled: the uncertain one, or the one before it, whose token it replaces)";

const NAMES: &str = "never, fixed, entropy, trend";

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::Fixed(Fixed { count, places, bot, eot }) => {
                write!(f, "fixed:count={count}")?;
                match places {
                    Places::At(places) => {
                        let places: Vec<String> = places.iter().map(usize::to_string).collect();
                        write!(f, ",at={}", places.join("+"))?;
                    }
                    Places::After(id) => write!(f, ",after={id}")?,
                }
                for (name, id) in [("bot", bot), ("eot", eot)] {
                    if let Some(id) = id {
                        write!(f, ",{name}={id}")?;
                    }
                }
                Ok(())
            }
            Self::Entropy(Entropy { start, stop, bounds, at }) => {
                write!(f, "entropy:start={start},stop={stop},{}", Rest(*bounds, *at))
            }
            Self::Trend(Trend { dwell, bounds, at }) => {
                write!(f, "trend:dwell={dwell},{}", Rest(*bounds, *at))
            }
        }
    }
}

/// What entropy and trend have in common.
struct Rest(Bounds, At);

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Bounds { least, most, all }, at) = self;
        write!(f, "least={least},most={most}")?;
        if let Some(all) = all {
            write!(f, ",all={all}")?;
        }
        f.write_str(if *at == At::Own { ",at=own" } else { ",at=next" })
    }
}

impl FromStr for Policy {
    type Err = String;

    /// Tokens are ids.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text, &|_| None)
    }
}

impl Policy {
    /// The same, tokens given as texts too, whose ids `ids` knows.
    ///
    /// # Errors
    /// What in `text` is no policy, with what is allowed.
    pub fn read(text: &str, ids: &dyn Fn(&str) -> Option<u32>) -> Result<Self, String> {
        let (name, rest) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let mut keys = Keys::of(name, rest)?;
        let policy = match name {
            "never" => Self::Never,
            "fixed" => Self::Fixed(keys.fixed(ids)?),
            "entropy" => Self::Entropy(Entropy {
                start: keys.take("start")?.unwrap_or(Threshold::Nats(1.5)),
                stop: keys.take("stop")?.unwrap_or(Threshold::Nats(0.5)),
                bounds: keys.bounds()?,
                at: keys.at()?,
            }),
            "trend" => Self::Trend(Trend {
                dwell: keys.take("dwell")?.unwrap_or(1),
                bounds: keys.bounds()?,
                at: keys.at()?,
            }),
            other => return Err(format!("policy {other:?} is not known; allowed: {NAMES}")),
        };
        keys.finished()?;
        Ok(policy)
    }
}

/// `key=value` pairs that are still to be read.
struct Keys<'a> {
    policy: &'a str,
    pairs: Vec<(&'a str, &'a str)>,
    asked: Vec<&'static str>,
}

impl<'a> Keys<'a> {
    fn of(policy: &'a str, text: &'a str) -> Result<Self, String> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let pair = |pair: &'a str| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("{policy}: {pair:?} is not KEY=VALUE"))?;
            Ok((key.trim(), value.trim()))
        };
        Ok(Self { policy, pairs: pairs.map(pair).collect::<Result<_, String>>()?, asked: Vec::new() })
    }

    fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.asked.push(key);
        let at = self.pairs.iter().position(|(own, _)| *own == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn take<T: FromStr>(&mut self, key: &'static str) -> Result<Option<T>, String>
    where
        T::Err: fmt::Display,
    {
        let policy = self.policy;
        let read = |value: &str| value.parse().map_err(|error| format!("{policy}: {key}={value}: {error}"));
        self.text(key).map(read).transpose()
    }

    fn bounds(&mut self) -> Result<Bounds, String> {
        let least = self.take("least")?.unwrap_or(1);
        let most = self.take("most")?.unwrap_or(8.max(least));
        if least > most {
            return Err(format!("{}: least={least} is more than most={most}", self.policy));
        }
        Ok(Bounds { least, most, all: self.take("all")? })
    }

    fn at(&mut self) -> Result<At, String> {
        match self.text("at") {
            None | Some("next") => Ok(At::Next),
            Some("own") => Ok(At::Own),
            Some(other) => Err(format!("{}: at={other}; allowed: next, own", self.policy)),
        }
    }

    fn token(&mut self, key: &'static str, ids: &dyn Fn(&str) -> Option<u32>) -> Result<Option<u32>, String> {
        let policy = self.policy;
        let read = |text: &str| {
            let id = text.parse().ok().or_else(|| ids(text));
            id.ok_or_else(|| format!("{policy}: {key}={text}: neither an id nor a token of the tokenizer"))
        };
        self.text(key).map(read).transpose()
    }

    fn fixed(&mut self, ids: &dyn Fn(&str) -> Option<u32>) -> Result<Fixed, String> {
        let count = self.take("count")?.unwrap_or(6);
        let number = |text: &str| text.parse().map_err(|error| format!("fixed: at={text}: {error}"));
        let at = self.text("at").map(|text| text.split('+').map(number).collect::<Result<Vec<usize>, _>>());
        let places = match (at.transpose()?, self.token("after", ids)?) {
            (Some(_), Some(_)) => return Err("fixed: at and after exclude each other".into()),
            (_, Some(id)) => Places::After(id),
            (at, None) => Places::At(at.unwrap_or_else(|| vec![0])),
        };
        Ok(Fixed { count, places, bot: self.token("bot", ids)?, eot: self.token("eot", ids)? })
    }

    fn finished(self) -> Result<(), String> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) if self.asked.contains(key) => Err(format!("{}: {key} stands twice", self.policy)),
            Some((key, _)) if self.asked.is_empty() => Err(format!("{}: takes no {key}", self.policy)),
            Some((key, _)) => {
                Err(format!("{}: {key} is not known; allowed: {}", self.policy, self.asked.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_they_are_written() {
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
    fn tokens_may_be_texts_that_a_tokenizer_knows() {
        let ids = |text: &str| (text == "<bot>").then_some(12);
        let policy = Policy::read("fixed:count=2,after=<bot>,bot=<bot>,eot=4", &ids).unwrap();
        assert_eq!(policy.to_string(), "fixed:count=2,after=12,bot=12,eot=4");
        assert!(Policy::read("fixed:eot=<eot>", &ids).is_err());
    }

    #[test]
    fn what_is_no_policy_is_named() {
        for (text, wanted) in [
            ("sometimes", "policy \"sometimes\" is not known; allowed: never, fixed, entropy, trend"),
            ("entropy:start=x", "entropy: start=x: \"x\" is no threshold"),
            ("entropy:begin=1", "entropy: begin is not known; allowed: start, stop, least, most, all, at"),
            ("entropy:start", "\"start\" is not KEY=VALUE"),
            ("entropy:start=1,start=2", "entropy: start stands twice"),
            ("entropy:least=9,most=8", "least=9 is more than most=8"),
            ("entropy:at=here", "at=here; allowed: next, own"),
            ("never:most=3", "never: takes no most"),
            ("fixed:at=1,after=2", "exclude each other"),
            ("fixed:at=1+x", "fixed: at=x"),
            ("fixed:bot=<bot>", "fixed: bot=<bot>: neither an id nor a token of the tokenizer"),
        ] {
            let found = text.parse::<Policy>().unwrap_err();
            assert!(found.contains(wanted), "{found}");
        }
    }
}
