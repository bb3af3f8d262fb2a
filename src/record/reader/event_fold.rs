//! Owns: what the table of events says of alerts and of the playground, as events for a screen.
//! Must not know: files, screens.
//! Invariant: at most one answer is unfinished; an alert that is over, or of an earlier process, is not sent.

use crate::record::rows::{self, NamedEvent};
use crate::schema::protocol::{Alert, AlertTopic, Event, PlaygroundAnswer};
use crate::schema::rows::EventKind;
use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

/// The topics of recorded alerts.
const RECORDED: [AlertTopic; 5] = [
    AlertTopic::DiskFull,
    AlertTopic::Divergence,
    AlertTopic::NotFinite,
    AlertTopic::EqualRewards,
    AlertTopic::CutRollouts,
];

/// Folds rows of the table of events.
#[derive(Debug, Default)]
pub struct EventFold {
    /// Prompts so far, which number the answers.
    asked: u64,
    /// The answer to the last prompt, as long as it has not ended, and whether it was sent.
    unfinished: Option<(PlaygroundAnswer, bool)>,
    /// What the rows since the last call say of alerts.
    alerts: BTreeMap<AlertTopic, (Option<String>, DateTime<Utc>)>,
    sent: BTreeMap<AlertTopic, String>,
}

impl EventFold {
    /// Takes the new rows of the table into account, and returns the events for a screen.
    pub fn fold(&mut self, batches: &[RecordBatch]) -> Vec<Event> {
        let mut events = Vec::new();
        for NamedEvent { step, time, kind, name, text } in batches.iter().flat_map(rows::named_events) {
            match kind {
                EventKind::Asked => {
                    events.extend(self.drop_unfinished());
                    self.asked += 1;
                    let (policy, prompt) = (name.to_owned(), text.unwrap_or_default().to_owned());
                    let answer = PlaygroundAnswer { number: self.asked, step, policy, prompt, ..Default::default() };
                    self.unfinished = Some((answer, false));
                }
                EventKind::Answered => {
                    self.unfinished = None;
                    let answer = text.and_then(|text| serde_json::from_str::<PlaygroundAnswer>(text).ok());
                    let answer = answer.map(|answer| PlaygroundAnswer { number: self.asked, ..answer });
                    events.extend(answer.map(|answer| Event::Answer(Box::new(answer))));
                }
                EventKind::Start | EventKind::Resume | EventKind::End => {
                    events.extend(self.drop_unfinished());
                    // A run that has ended waits for no space. What it has measured stays true until it is resumed.
                    let over = |topic: &AlertTopic| kind != EventKind::End || *topic == AlertTopic::DiskFull;
                    self.alerts.extend(RECORDED.into_iter().filter(over).map(|topic| (topic, (None, time))));
                }
                EventKind::Alert => {
                    let topic = RECORDED.into_iter().find(|topic| topic.name() == name);
                    self.alerts.extend(topic.map(|topic| (topic, (text.map(str::to_owned), time))));
                }
                _ => {}
            }
        }
        if let Some((answer, sent)) = &mut self.unfinished
            && !std::mem::replace(sent, true)
        {
            events.push(Event::Answer(Box::new(answer.clone())));
        }
        events.extend(self.changed_alerts());
        events
    }

    /// Ends an answer whose end was not recorded: by an older version, or because the process was killed.
    fn drop_unfinished(&mut self) -> Option<Event> {
        let (answer, _) = self.unfinished.take().filter(|(_, sent)| *sent)?;
        Some(Event::Answer(Box::new(PlaygroundAnswer { end_reason: Some("not recorded".into()), ..answer })))
    }

    fn changed_alerts(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (topic, (text, time)) in std::mem::take(&mut self.alerts) {
            let before = match &text {
                Some(text) => self.sent.insert(topic.clone(), text.clone()),
                None => self.sent.remove(&topic),
            };
            if before != text {
                events.push(Event::Alert(Alert { topic, text, time }));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::rows::TableRow;
    use crate::schema::protocol::AnswerPart;
    use crate::schema::rows::EventRow;

    fn row(kind: EventKind, name: &str, text: Option<&str>) -> EventRow {
        let (name, text) = (name.to_owned(), text.map(str::to_owned));
        EventRow { step: 3, tokens: 0, time: chrono::Utc::now(), kind, name, value: None, text }
    }

    fn fold(fold: &mut EventFold, rows: &[EventRow]) -> Vec<String> {
        let describe = |event| match event {
            Event::Answer(answer) => {
                format!("{} {} {} {:?}", answer.number, answer.prompt, answer.parts.len(), answer.end_reason)
            }
            Event::Alert(alert) => format!("{} {:?}", alert.topic.name(), alert.text),
            other => panic!("{other:?}"),
        };
        fold.fold(&[EventRow::batch(rows).unwrap()]).into_iter().map(describe).collect()
    }

    #[test]
    fn answers_are_shown_once_they_are_asked_for_and_when_they_end() {
        let answer = PlaygroundAnswer {
            number: 9,
            prompt: "a".into(),
            parts: vec![AnswerPart::Text("b".into()), AnswerPart::Thought(vec![1.5])],
            end_reason: Some("end".into()),
            ..PlaygroundAnswer::default()
        };
        let json = serde_json::to_string(&answer).unwrap();
        let (asked, answered) =
            (row(EventKind::Asked, "never", Some("a")), row(EventKind::Answered, "never", Some(&json)));
        let mut state = EventFold::default();
        // An older version has recorded no answer.
        let old = [asked.clone(), row(EventKind::End, "stopped", None), row(EventKind::Resume, "", None)];
        assert!(fold(&mut state, &old).is_empty());
        assert_eq!(fold(&mut state, std::slice::from_ref(&asked)), ["2 a 0 None"]);
        assert!(fold(&mut state, &[]).is_empty());
        assert_eq!(fold(&mut state, &[answered.clone(), asked.clone()]), ["2 a 2 Some(\"end\")", "3 a 0 None"]);
        assert_eq!(fold(&mut state, &[asked, answered]), ["3 a 0 Some(\"not recorded\")", "4 a 2 Some(\"end\")"]);
        assert!(fold(&mut state, &[row(EventKind::Answered, "never", Some("{"))]).is_empty());
    }

    #[test]
    fn alerts_are_sent_while_they_last() {
        let mut state = EventFold::default();
        let diverges = row(EventKind::Alert, "divergence", Some("x"));
        let over = row(EventKind::Alert, "divergence", None);
        assert!(fold(&mut state, &[diverges.clone(), over.clone()]).is_empty());
        assert_eq!(fold(&mut state, std::slice::from_ref(&diverges)), ["divergence Some(\"x\")"]);
        assert_eq!(fold(&mut state, &[over]), ["divergence None"]);
        let equal = |text| row(EventKind::Alert, "equal_rewards", text);
        assert_eq!(fold(&mut state, &[equal(Some("y"))]), ["equal_rewards Some(\"y\")"]);
        assert_eq!(fold(&mut state, &[equal(None)]), ["equal_rewards None"]);
        let full = row(EventKind::Alert, "disk", Some("full"));
        let rows = [diverges, full, row(EventKind::Alert, "of a newer version", Some("x"))];
        assert_eq!(fold(&mut state, &rows), ["disk Some(\"full\")", "divergence Some(\"x\")"]);
        assert_eq!(fold(&mut state, &[row(EventKind::End, "stopped", None)]), ["disk None"]);
        assert_eq!(fold(&mut state, &[row(EventKind::Resume, "", None)]), ["divergence None"]);
    }
}
