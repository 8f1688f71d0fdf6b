//! Every sync of a file of slots is made, and none fails unnoticed.

use super::*;
use crate::disk::faulty::Syncs;

fn with_a_value(dir: &Path) {
    reopen(&dir.join("slots")).0.save(b"value").unwrap();
}

#[test]
fn a_file_is_durable_with_its_name_before_it_is_there() {
    let made = Syncs::made_by(|_| {}, |fs, dir| Slots::open(fs, &dir.join("slots"), 100));
    assert_eq!(made, Syncs::of(1, 1));
    let in_place_of_another = Syncs::made_by(
        |dir| std::fs::create_dir(dir.join("slots")).unwrap(),
        |fs, dir| Slots::open(fs, &dir.join("slots"), 100),
    );
    assert_eq!(in_place_of_another, Syncs::of(1, 1));
}

#[test]
fn a_value_is_durable_in_a_larger_file_before_that_takes_the_name() {
    let enlarged = Syncs::made_by(with_a_value, |fs, dir| Slots::open(fs, &dir.join("slots"), 5000));
    assert_eq!(enlarged, Syncs::of(2, 1));
}

#[test]
fn what_is_rescued_is_durable_with_its_name() {
    let rescued = Syncs::made_by(with_a_value, |fs, dir| {
        fs.fail_next(Op::Read, 3);
        Slots::open(fs, &dir.join("slots"), 100)
    });
    assert_eq!(rescued, Syncs::of(2, 2), "without a value that could be read");
    let rescued = Syncs::made_by(
        |dir| {
            let (mut slots, _) = reopen(&dir.join("slots"));
            (0..2).for_each(|_| slots.save(b"value").unwrap());
        },
        |fs, dir| {
            fs.fail_next(Op::Read, 3);
            Slots::open(fs, &dir.join("slots"), 100)
        },
    );
    assert_eq!(rescued, Syncs::of(2, 2));
}

#[test]
fn a_sync_covers_the_name_once_and_the_value_each_time() {
    let synced = Syncs::made_by(with_a_value, |fs, dir| {
        let (mut slots, _) = Slots::open(fs, &dir.join("slots"), 100)?;
        slots.sync()?;
        slots.sync()
    });
    assert_eq!(synced, Syncs::of(2, 1));
}
