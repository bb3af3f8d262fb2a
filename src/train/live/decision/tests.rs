use super::*;
use crate::schema::rows::RunPosition;

const OWN: usize = 0;
const RECIPE: usize = 1;

fn live() -> LiveConfig {
    let file = |name: &str| WatchedFile {
        name: name.into(),
        path: PathBuf::new(),
        last_valid: Config::default(),
        text: String::new(),
        accepted_text: String::new(),
        refused: false,
    };
    LiveConfig {
        run: "r1".into(),
        config: Config::default(),
        version: 4,
        files: vec![file("config.toml"), file("recipe.toml")],
        scheduled: VecDeque::new(),
    }
}

fn stamp() -> ChangeStamp {
    ChangeStamp::new(RunPosition { step: 7, tokens: 70, version: 0 })
}

/// Decides about `edit` and applies the decision.
fn process(live: &mut LiveConfig, edit: &ConfigEdit) -> Decision {
    let decision = live.decide(edit, stamp(), &|_| Ok(()));
    live.accept(edit, &decision);
    decision
}

fn save(live: &mut LiveConfig, file: usize, text: &str) -> Decision {
    process(live, &ConfigEdit::Saved { file, text: Ok(text.into()) })
}

fn set(live: &mut LiveConfig, values: &[(&str, &str)]) -> Decision {
    let values = values.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    process(live, &ConfigEdit::Keys(values))
}

fn refusal(decision: &Decision) -> &str {
    match &decision.verdict {
        Verdict::Refused(reason) => reason,
        verdict => panic!("not refused: {verdict:?}"),
    }
}

/// Returns key, new value and outcome of each row.
fn rows(decision: &Decision) -> Vec<(Option<&str>, &str, ChangeOutcome)> {
    decision.rows.iter().map(|row| (row.key.as_deref(), row.value.as_str(), row.outcome)).collect()
}

fn scheduled(step: u64, set: &str, key: &str, value: &str) -> ChangeRow {
    let stamp = ChangeStamp { set: set.into(), at: RunPosition { step, ..stamp().at }, ..stamp() };
    ChangeRow { key: Some(key.into()), value: value.into(), ..change_row(None, &stamp, &ChangeSource::Keys) }
}

#[test]
fn a_saved_file_applies_all_that_it_changes() {
    let mut live = live();
    let decision = save(&mut live, OWN, "[optim]\nlr = 0.5\nclip = 2.0\n");
    assert_eq!((live.config.optim.lr, live.config.optim.clip, live.version), (0.5, 2.0, 5));
    let keys: Vec<_> = decision.rows.iter().map(|row| row.key.as_deref().unwrap()).collect();
    assert_eq!(keys, ["optim.lr", "optim.clip"]);
    let row = &decision.rows[0];
    assert_eq!((row.step, row.tokens, row.version, row.outcome), (7, 70, 5, ChangeOutcome::Applied));
    assert_eq!((&row.source, &row.set), (&ChangeSource::File("config.toml".into()), &decision.rows[1].set));
    assert!(decision.alert.is_none());
}

#[test]
fn a_frozen_key_refuses_the_whole_change() {
    let mut live = live();
    let decision = save(&mut live, OWN, "[optim]\nlr = 0.5\n[data]\nseq_len = 99\n");
    let reason = refusal(&decision);
    assert!(reason.starts_with("config.toml line 4: `data.seq_len` = 99 cannot change"), "{reason}");
    assert!(reason.ends_with("coconut-lab run --from r1 --set data.seq_len=99"), "{reason}");
    assert_eq!(rows(&decision), [(Some("data.seq_len"), "99", ChangeOutcome::Refused)]);
    assert_eq!((&live.config, live.version), (&Config::default(), 4));
    let decision = set(&mut live, &[("optim.lr", "0.5"), ("model.width", "32")]);
    assert!(refusal(&decision).ends_with("start a new run with it"));
    assert_eq!((decision.rows.len(), live.version), (2, 4));
}

#[test]
fn the_later_of_two_changes_wins() {
    let mut live = live();
    save(&mut live, OWN, "[optim]\nlr = 0.5\n");
    set(&mut live, &[("optim.lr", "0.25")]);
    assert_eq!((live.config.optim.lr, live.version), (0.25, 6));
    save(&mut live, OWN, "[optim]\nlr = 0.125\n");
    assert_eq!((live.config.optim.lr, live.version), (0.125, 7));
}

#[test]
fn a_file_changes_only_what_was_edited_in_it() {
    let mut live = live();
    set(&mut live, &[("recycle.every", "3")]);
    save(&mut live, RECIPE, "[optim]\nlr = 0.5\n");
    assert_eq!((live.config.recycle.every, live.config.optim.lr), (3, 0.5));
}

#[test]
fn a_file_equal_to_the_current_config_is_no_edit() {
    let mut live = live();
    set(&mut live, &[("optim.lr", "0.5")]);
    // This is the program's own write of the key, or a person's save of the same value.
    let decision = save(&mut live, OWN, "[optim]\nlr = 0.5\n");
    assert_eq!((&decision.verdict, decision.rows.len(), live.version), (&Verdict::Unchanged, 0, 5));
    assert_eq!(live.files[OWN].last_valid, live.config);
}

#[test]
fn a_refused_file_is_remembered_and_cleared() {
    let mut live = live();
    let decision = save(&mut live, RECIPE, "[optim]\nlr = 99.0\n");
    assert_eq!(rows(&decision), [(Some("optim.lr"), "99.0", ChangeOutcome::Refused)]);
    assert!(decision.alert.unwrap().text.unwrap().contains("from 0 to 10"));
    assert!(live.files[RECIPE].refused && live.files[RECIPE].text.contains("99"));
    assert_eq!(live.files[RECIPE].last_valid, Config::default());
    let decision = save(&mut live, RECIPE, "");
    assert_eq!(decision.verdict, Verdict::Unchanged);
    let Some(cleared) = decision.alert else { panic!("no alert") };
    assert_eq!((cleared.topic, cleared.text), (AlertTopic::ConfigFile("recipe.toml".into()), None));
    assert!(!live.files[RECIPE].refused);
    assert!(save(&mut live, RECIPE, "").alert.is_none());
}

#[test]
fn an_invalid_or_unreadable_file_has_one_row_without_a_key() {
    let mut live = live();
    for text in [Ok("lr = [".into()), Err("permission denied".into())] {
        let decision = process(&mut live, &ConfigEdit::Saved { file: OWN, text });
        let reason = refusal(&decision).to_owned();
        assert!(reason.contains("config.toml"), "{reason}");
        assert_eq!(rows(&decision), [(None, "", ChangeOutcome::Refused)]);
        assert_eq!(decision.rows[0].reason.as_ref(), Some(&reason));
        // An unreadable file keeps its last known text.
        assert_eq!((live.files[OWN].refused, live.files[OWN].text.as_str()), (true, "lr = ["));
    }
}

#[test]
fn a_key_set_to_its_current_value_changes_nothing_and_ends_the_alert() {
    let mut live = live();
    assert!(refusal(&set(&mut live, &[("optim.lr", "99")])).contains("from 0 to 10"));
    let lr = live.config.optim.lr.to_string();
    let decision = set(&mut live, &[("optim.lr", &lr)]);
    assert_eq!((decision.verdict, decision.rows.len(), live.version), (Verdict::Unchanged, 0, 4));
    let Some(cleared) = decision.alert else { panic!("no alert") };
    assert_eq!((cleared.topic, cleared.text), (AlertTopic::DashboardEdit, None));
    assert_eq!(decision.set_by_person.len(), 1);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let mut live = live();
    let decision = set(&mut live, &[("optim.clip", "2"), ("optim.rl", "1")]);
    assert!(refusal(&decision).contains("`optim.lr`"));
    assert_eq!((rows(&decision), live.version), (vec![(None, "", ChangeOutcome::Refused)], 4));
}

#[test]
fn a_config_that_the_model_or_data_cannot_support_is_refused() {
    let live = live();
    let check = |config: &Config| match config.recycle.every {
        3 => Err(TrainError::Recording("no".into())),
        _ => Ok(()),
    };
    let edit = ConfigEdit::Keys(vec![("recycle.every".into(), "3".into())]);
    assert_eq!(refusal(&live.decide(&edit, stamp(), &check)), "set: cannot record: no");
}

#[test]
fn scheduled_changes_are_applied_at_their_step_set_by_set() {
    let mut live = live();
    live.scheduled = vec![
        scheduled(7, "a", "optim.lr", "0.5"),
        scheduled(7, "a", "optim.clip", "2.0"),
        scheduled(7, "b", "optim.lr", "99.0"),
        scheduled(8, "c", "optim.lr", "0.25"),
    ]
    .into();
    let first = ConfigEdit::Replay(live.take_scheduled(7).unwrap());
    let decision = process(&mut live, &first);
    assert_eq!((decision.rows.len(), live.config.optim.lr, live.config.optim.clip), (2, 0.5, 2.0));
    assert!(decision.rows.iter().all(|row| row.set == "a" && row.source.to_string() == "again: keys"));
    let second = ConfigEdit::Replay(live.take_scheduled(7).unwrap());
    let decision = process(&mut live, &second);
    assert!(refusal(&decision).contains("from 0 to 10") && decision.alert.is_none());
    assert!(live.take_scheduled(7).is_none(), "not due");
    // A set that changes nothing leaves no row.
    let same = ConfigEdit::Replay(vec![scheduled(8, "d", "optim.lr", "0.5")]);
    assert_eq!(process(&mut live, &same).rows, []);
}

#[test]
fn a_persons_change_cancels_the_scheduled_one() {
    let row = |key| scheduled(99, "a", key, "0.5");
    let keys = |live: &LiveConfig| live.scheduled.iter().map(|row| row.key.clone().unwrap()).collect::<Vec<_>>();
    let mut live = live();
    live.scheduled = vec![row("optim.lr"), row("optim.clip"), row("recycle.weight")].into();
    save(&mut live, RECIPE, "[optim]\nlr = 0.25\n");
    assert_eq!(keys(&live), ["optim.clip", "recycle.weight"]);
    // Even if the person sets the value that the key has already.
    let clip = live.config.optim.clip.to_string();
    set(&mut live, &[("optim.clip", &clip)]);
    assert_eq!(keys(&live), ["recycle.weight"]);
    // A refused edit cancels nothing.
    set(&mut live, &[("recycle.weight", "-1")]);
    assert_eq!(keys(&live), ["recycle.weight"]);
}

#[test]
fn a_note_is_a_row_and_changes_nothing() {
    let mut live = live();
    let decision = process(&mut live, &ConfigEdit::Note("odd".into()));
    assert_eq!(rows(&decision), [(None, "", ChangeOutcome::Noted)]);
    assert_eq!(decision.rows[0].reason.as_deref(), Some("odd"));
    assert_eq!((decision.rows[0].version, live.version, decision.alert), (4, 4, None));
}
