//! What makes rows durable. The kernel refuses to sync what is in `/proc`, so a call that is not made shows.

use std::fs::{self, File};
use std::path::Path;

use super::aside::set_aside;
use super::codec::tests::{key, row};
use super::row::Query;
use super::store::{SledStore, Store, sync_dir};

const UNSYNCABLE: &str = "/proc/self";

#[test]
fn rows_are_in_the_files_and_the_files_are_synced_before_they_count_as_durable() {
    let home = tempfile::tempdir().unwrap();
    let [dir, copy] = ["ledger", "copy"].map(|name| home.path().join(name));
    let mut store = SledStore::open(&dir, 10).unwrap();
    store.put(&mut [row(key("main", "home", 1), 7)].iter()).unwrap();
    store.sync().unwrap();
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(&dir).unwrap().map(Result::unwrap).filter(|f| f.path().is_file()) {
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let found = SledStore::open(&copy, 10).unwrap().page(&Query { limit: 10, ..Query::default() }).unwrap();
    assert_eq!(found.rows.len(), 1);
    let data = std::mem::replace(&mut store.data, File::open(Path::new(UNSYNCABLE).join("comm")).unwrap());
    store.sync().unwrap_err();
    store.data = data;
    store.sync().unwrap();
    store.dir = UNSYNCABLE.into();
    store.sync().unwrap_err();
}

#[test]
fn a_directory_is_synced_or_that_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    sync_dir(home.path()).unwrap();
    sync_dir(Path::new(UNSYNCABLE)).unwrap_err();
    set_aside(&Path::new(UNSYNCABLE).join("spoolway-is-not-there")).unwrap_err();
}
