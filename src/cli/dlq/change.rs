//! `spoolway dlq replay` and `purge`.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Place, Which};
use crate::cli::client::Client;
use crate::cli::spool::failure;
use crate::cli::{Exit, Failure, Outcome, output};
use crate::disk::RealFs;
use crate::spool::{self, OpenError, salvage::Old};
use crate::state::letters::{Letters, Settings};

/// Numbers sent to the agent at a time.
const AT_A_TIME: usize = 10_000;

/// Letters by number, or by what they are.
#[derive(Debug, Clone, Args)]
struct Chosen {
    /// Numbers of letters, as listed.
    #[arg(value_name = "ID", required_unless_present_any = ["all", "destination", "topic", "stream", "reason"])]
    ids: Vec<u64>,
    /// All of them.
    #[arg(long, conflicts_with_all = ["ids", "destination", "topic", "stream", "reason"])]
    all: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    chosen: Chosen,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    chosen: Chosen,
    /// Really throw them away.
    #[arg(long)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Chosen {
    /// Numbers of the letters that are there. One that is named and not there is a mistake.
    fn find(&self, place: &Place) -> Result<Vec<u64>, Failure> {
        let wanted = |id: u64| self.ids.is_empty() || self.ids.contains(&id);
        let found = place.look(usize::MAX, |s| wanted(s.id) && self.which.takes(s))?;
        let there: Vec<u64> = found.letters.iter().map(|s| s.id).collect();
        match self.ids.iter().find(|id| !there.contains(id)) {
            Some(id) if self.which.is_all() => Err(Failure::usage(format!(
                "there is no dead letter {id}: it was sent again or purged, or never was; `spoolway dlq list` lists those there are"
            ))),
            _ => Ok(there),
        }
    }
}

/// What the agent did.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Done {
    replayed: u64,
    purged: u64,
    not_configured: u64,
    of: Vec<Elsewhere>,
}

/// Letters that no delivery of the agent has.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Elsewhere {
    destination: String,
    lane: String,
    letters: u64,
}

impl Done {
    /// Adds what was done of further letters; each destination is named once.
    fn add(&mut self, further: Self) {
        self.replayed += further.replayed;
        self.purged += further.purged;
        self.not_configured += further.not_configured;
        for one in further.of {
            let is_same =
                |known: &&mut Elsewhere| (&known.destination, &known.lane) == (&one.destination, &one.lane);
            match self.of.iter_mut().find(is_same) {
                Some(known) => known.letters += one.letters,
                None => self.of.push(one),
            }
        }
    }
}

impl Elsewhere {
    fn what_to_do(&self) -> String {
        let Self { destination, lane, letters } = self;
        format!(
            "{letters} of destination {destination}, lane {lane}: configure both (again) and reload the agent; where the destination has \
             another name by now, with `renamed_from = \"{destination}\"`"
        )
    }
}

pub(super) fn replay(args: &ReplayArgs) -> Outcome {
    let ids = args.chosen.find(&args.place)?;
    let client = Client::new(args.place.agent.address()?);
    let done = ask(&client, "/dead-letters/replay", &ids)?;
    let Done { replayed, not_configured, of, .. } = done;
    if args.json {
        output::line(
            &json!({ "replayed": replayed, "not_configured": not_configured, "of": of }).to_string(),
        )?;
    } else {
        output::line(&format!(
            "{replayed} dead letters are being sent again; `spoolway status` says what becomes of them"
        ))?;
    }
    if not_configured == 0 {
        return Ok(Exit::Done);
    }
    let what: Vec<String> = of.iter().map(Elsewhere::what_to_do).collect();
    Err(Failure::running(format!(
        "{not_configured} letters can't be sent by the agent as it is configured: they go where they were refused, whatever their streams' \
         routes are by now. {}. Or purge them",
        what.join("; ")
    )))
}

fn ask(client: &Client, path: &str, ids: &[u64]) -> Result<Done, Failure> {
    let mut sum = Done::default();
    for part in ids.chunks(AT_A_TIME) {
        let body = client.post(path, &json!({ "ids": part }).to_string())?;
        let done: Done = client.read(&body)?;
        sum.add(done);
    }
    Ok(sum)
}

pub(super) fn purge(args: &PurgeArgs) -> Outcome {
    let ids = args.chosen.find(&args.place)?;
    if !args.yes {
        return Err(Failure::usage(format!(
            "{} dead letters would be thrown away for good: say --yes if that is meant",
            ids.len()
        )));
    }
    let purged = match purge_here(&args.place, &ids)? {
        Some(purged) => purged,
        None => purge_there(&args.place, &ids)?,
    };
    let text = if args.json {
        json!({ "purged": purged }).to_string()
    } else {
        format!("{purged} dead letters were thrown away")
    };
    output::line(&text)?;
    Ok(Exit::Done)
}

/// `None` while an agent runs. Opened as by one, the directory could draw an incarnation of which no agent would know that it is new.
fn purge_here(place: &Place, ids: &[u64]) -> Result<Option<u64>, Failure> {
    let dir = place.dir()?;
    let _held = match spool::hold(&RealFs, &dir) {
        Err(OpenError::Locked { .. }) => return Ok(None),
        held => held.map_err(|e| failure(&e))?,
    };
    let spool = Old::identify(&RealFs, &dir).map_err(|e| failure(&e))?;
    // Nothing is appended, so the bounds do not matter.
    let settings = Settings { max_size: 0, max_event_size: 0 };
    let letters = Letters::open(&RealFs, &dir, spool, settings, 0).map_err(Failure::running)?;
    letters.remove(ids).map_err(Failure::running)?;
    Ok(Some(ids.len() as u64))
}

fn purge_there(place: &Place, ids: &[u64]) -> Result<u64, Failure> {
    let client = Client::new(place.agent.address()?);
    Ok(ask(&client, "/dead-letters/purge", ids)?.purged)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::spool::{Cause, DataDir};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: PurgeArgs,
    }

    #[test]
    fn letters_that_are_purged_while_no_agent_runs_leave_a_new_incarnation_to_its_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(RealFs, dir.path()).unwrap();
        let before = data.life();
        data.note_older_copy();
        let line = ["purge", "--all", "--yes", "--data-dir", dir.path().to_str().unwrap()];
        let args = Line::parse_from(line).args;
        assert_eq!(purge_here(&args.place, &[]).unwrap(), None, "one runs");
        drop(data);
        assert_eq!(purge_here(&args.place, &[]).unwrap(), Some(0));
        let data = DataDir::open(RealFs, dir.path()).unwrap();
        assert_eq!((data.is_renewed(), data.life().cause), (true, Cause::RolledBack));
        assert_ne!(data.life().incarnation, before.incarnation);
    }

    #[test]
    fn of_many_letters_each_destination_that_is_not_configured_is_named_once() {
        let of = |destination: &str, letters| Elsewhere {
            destination: destination.to_owned(),
            lane: "main".to_owned(),
            letters,
        };
        let part = |replayed, of: Vec<Elsewhere>| Done {
            replayed,
            not_configured: of.iter().map(|one| one.letters).sum(),
            of,
            ..Done::default()
        };
        let mut sum = Done::default();
        sum.add(part(3, vec![of("old", 9_000), of("other", 997)]));
        sum.add(part(7, vec![of("old", 10)]));
        assert_eq!((sum.replayed, sum.not_configured), (10, 10_007));
        assert_eq!(sum.of, [of("old", 9_010), of("other", 997)]);
    }
}
