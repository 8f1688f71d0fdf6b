use super::*;

fn record(machine: u64, inode: u64, born: i64) -> Record {
    let life = Life { incarnation: Incarnation(7), cause: Cause::Copied, since: 1_700_000_000_123 };
    Record { spool: SpoolId(5), life, machine, file: FileIdentity { inode, born }, openings: 9, older: false }
}

#[test]
fn a_record_is_read_back_and_other_versions_and_causes_are_not() {
    let bytes = encode(&record(1, 2, -3));
    assert_eq!((bytes.len(), decode(&bytes)), (LEN, Some(record(1, 2, -3))));
    (0..LEN).for_each(|len| assert_eq!(decode(&bytes[..len]), None));
    let older = Record { older: true, ..record(1, 2, -3) };
    assert_eq!(decode(&encode(&older)), Some(older));
    for at in [0, 1] {
        let mut other = bytes.clone();
        other[at] = 77;
        assert_eq!(decode(&other), None);
    }
}

#[test]
fn what_is_found_and_where_decides() {
    let here = record(1, 2, 3);
    let judged = |found: Record| judge(Some(&found), true, &here);
    assert_eq!(judged(here), None, "a restart, a reboot, a renaming");
    assert_eq!(judged(record(1, 2, 4)), Some(Cause::Copied), "the inode's number was used again");
    assert_eq!(judged(record(1, 9, 3)), None, "inodes numbered anew by a mount");
    assert_eq!(judged(record(1, 2, 0)), None, "a file system that did not tell births");
    assert_eq!(judged(record(1, 9, 0)), Some(Cause::Copied));
    assert_eq!(judged(record(1, 0, 0)), None, "nothing is known of the file");
    assert_eq!(judged(record(8, 2, 3)), Some(Cause::OtherHost));
    assert_eq!(judged(record(0, 2, 3)), None, "a container, or a host without an id");
    assert_eq!(judged(record(8, 9, 9)), Some(Cause::Copied));
    assert_eq!(judged(Record { spool: SpoolId(6), ..here }), Some(Cause::Unmarked));
    assert_eq!(judge(None, false, &here), None, "a version without the file");
    assert_eq!(judge(None, true, &here), Some(Cause::Unmarked));
}

#[derive(Debug)]
struct Machine(&'static str);

impl Host for Machine {
    fn now(&self) -> super::super::host::Stamp {
        super::super::host::Stamp::default()
    }
    fn random(&self) -> std::io::Result<u64> {
        Ok(77)
    }
    fn machine(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.to_owned())
    }
}

#[test]
fn a_machine_has_a_number_of_its_own_that_another_directory_does_not_know_it_by() {
    let number = |name, spool| machine(&Machine(name), SpoolId(spool));
    assert_eq!(number("a", 5), number("a", 5));
    let all = [number("a", 5), number("b", 5), number("a", 6), number("", 5)];
    assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])), "{all:?}");
    assert_eq!(all[3], 0, "nothing is known of it");
}

#[test]
fn a_directory_on_another_machine_goes_on_counting_its_openings_under_a_new_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let opened = |machine| {
        Marker::open(&crate::disk::RealFs, dir.path(), SpoolId(5), false, &Machine(machine)).unwrap()
    };
    let mut first = opened("a");
    (0..3).for_each(|_| first.note_opening());
    drop(first);
    let second = opened("b");
    assert_eq!((second.life().cause, second.life().incarnation), (Cause::OtherHost, Incarnation(77)));
    assert_eq!(second.record.openings, 3);
    drop(second);
    let third = opened("b");
    assert_eq!((third.is_renewed(), third.record.openings), (false, 3));
}

#[test]
fn one_that_was_found_to_be_an_older_copy_begins_a_new_incarnation_with_its_next_opening_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let opened = || Marker::open(&crate::disk::RealFs, dir.path(), SpoolId(5), false, &Machine("a")).unwrap();
    let mut first = opened();
    let before = first.life();
    for lines in [1, 0] {
        assert_eq!(crate::logs::testing::said(|| first.note_older_copy(dir.path())).1.len(), lines);
    }
    first.note_opening();
    assert_eq!((first.life(), first.is_renewed()), (before, false), "what is sent now is counted under it");
    drop(first);
    let second = opened();
    assert_eq!((second.life().cause, second.is_renewed()), (Cause::RolledBack, true));
    drop(second);
    assert!(!opened().is_renewed());
}

#[test]
fn a_start_in_a_container_does_not_forget_the_machine() {
    assert_eq!(record(1, 2, 3).refined(&record(0, 0, 0)), record(1, 2, 3));
    assert_eq!(record(0, 2, 0).refined(&record(1, 5, 3)), record(1, 5, 3));
}
