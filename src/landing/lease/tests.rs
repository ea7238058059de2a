//! Leases in a folder, in an object store, and in one whose answers are lost.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use testkit::proxy::Loss;
use testkit::{Proxy, S3Server};

use super::*;

/// Short enough to wait for.
const SHORT: Terms = Terms {
    renewal: Duration::from_millis(50),
    length: Duration::from_millis(400),
    grace: Duration::from_millis(400),
};

/// Long enough for a client that waits before it sends a request again.
const LOSSY: Terms = Terms {
    length: Duration::from_secs(10),
    ..SHORT
};

fn pipeline() -> StreamName {
    "formacion".parse().unwrap()
}

fn in_store(store: Arc<dyn ObjectStore>) -> Landing {
    Landing {
        store,
        location: "memory://zona".to_owned(),
        folder: None,
    }
}

fn in_memory() -> Landing {
    in_store(Arc::new(InMemory::new()))
}

async fn take(landing: &Landing) -> Result<Lease> {
    landing.lease_on(&pipeline(), "lago", SHORT).await
}

async fn refused(landing: &Landing) -> String {
    let error = take(landing).await.unwrap_err();
    assert!(error.ends_when_released(), "{error:?}");
    error.report()
}

fn path() -> Path {
    Path::from("formacion/_lease-lago.json")
}

/// A holder on another machine, of whom nothing can be known but what he noted.
fn elsewhere(since: &str) -> serde_json::Value {
    serde_json::json!({"holder": {
        "id": "0b1c", "since": since, "renewals": 3,
        "process": {"host": "otra-maquina", "pid": 4711, "identity": null},
    }})
}

async fn note(landing: &Landing, note: &serde_json::Value) {
    let payload = PutPayload::from(note.to_string());
    landing.store.put(&path(), payload).await.unwrap();
}

#[tokio::test]
async fn two_runs_do_not_hold_it_at_once_and_the_second_is_told_who_does() {
    let landing = in_memory();
    let held = take(&landing).await.unwrap();
    // Longer than it is good for without being renewed.
    sleep(SHORT.length + SHORT.grace * 2).await;
    held.check().unwrap();
    let told = refused(&landing).await;
    let this = Process::this();
    for word in [
        "lago",
        &this.to_string(),
        " UTC, renewed 0 s ago",
        "_lease-lago.json",
    ] {
        assert!(told.contains(word), "{told}");
    }
    // Of another destination nothing is held.
    landing
        .lease_on(&pipeline(), "otro", SHORT)
        .await
        .unwrap()
        .release()
        .await;

    held.release().await;
    let next = take(&landing).await.unwrap();
    assert!(take(&landing).await.is_err());
    drop(next);
    sleep(SHORT.renewal).await;
    take(&landing).await.unwrap();
}

#[tokio::test]
async fn of_many_at_once_one_has_it() {
    let landing = in_memory();
    // Free, never taken; then free, given back; then a dead one's.
    for round in 0..3 {
        if round == 2 {
            note(&landing, &elsewhere("2026-01-01T00:00:00Z")).await;
            sleep(SHORT.length + SHORT.grace + Duration::from_millis(50)).await;
        }
        let all = futures::future::join_all((0..8).map(|_| take(&landing))).await;
        let held: Vec<Lease> = all.into_iter().filter_map(Result::ok).collect();
        assert_eq!(held.len(), 1, "round {round}");
        for lease in held {
            lease.release().await;
        }
    }
}

#[tokio::test]
async fn a_dead_holder_is_waited_for_whatever_its_clock_said() {
    // The first clock was set back since, the second was never set.
    for since in ["2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
        let landing = in_memory();
        note(&landing, &elsewhere(since)).await;
        let told = refused(&landing).await;
        assert!(told.contains("process 4711 on otra-maquina"), "{told}");
        sleep(SHORT.length).await;
        refused(&landing).await;
        sleep(SHORT.grace + Duration::from_millis(50)).await;
        take(&landing).await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_holder_of_this_machine_is_not_waited_for() {
    let landing = in_memory();
    let mut dead = elsewhere("2026-01-01T00:00:00Z");
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let mut process = serde_json::to_value(Process::of(child.id())).unwrap();
    std::mem::swap(&mut dead["holder"]["process"], &mut process);
    note(&landing, &dead).await;
    refused(&landing).await;
    child.kill().unwrap();
    child.wait().unwrap();
    take(&landing).await.unwrap();
}

#[tokio::test]
async fn who_lost_it_is_told_and_does_not_give_back_what_is_anothers() {
    let landing = in_memory();
    let held = take(&landing).await.unwrap();
    note(&landing, &elsewhere("2026-01-01T00:00:00Z")).await;
    sleep(SHORT.renewal * 4).await;
    let error = held.check().unwrap_err();
    assert!(error.report().contains("lost its lease"), "{error:?}");
    held.release().await;
    refused(&landing).await;
}

#[tokio::test]
async fn a_note_that_cannot_be_read_holds_as_long_as_one_that_can() {
    let landing = in_memory();
    note(&landing, &serde_json::json!(["de otra versión"])).await;
    let told = refused(&landing).await;
    assert!(
        told.contains("another run holds the destination lago: renewed 0 s ago"),
        "{told}"
    );
    sleep(SHORT.length + SHORT.grace + Duration::from_millis(50)).await;
    take(&landing).await.unwrap();
}

/// A landing area in an S3 service behind a proxy.
fn in_s3(server: &S3Server, proxy: &Proxy) -> Landing {
    let store = AmazonS3Builder::new()
        .with_endpoint(proxy.url())
        .with_bucket_name(server.bucket())
        .with_access_key_id(server.access_key())
        .with_secret_access_key(server.secret_key())
        .with_region(server.region())
        .with_allow_http(true)
        .build();
    in_store(Arc::new(store.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_loses_no_lease() {
    for loss in [Loss::Cut, Loss::Instead(500), Loss::Instead(503)] {
        let server = S3Server::start().unwrap();
        let proxy = Proxy::start(&server.endpoint()).unwrap();
        let landing = in_s3(&server, &proxy);
        // The one that takes the lease, one that renews it, and one that renews it right after.
        for skip in [0, 4, 5] {
            proxy.lose("PUT", "_lease-lago", skip, loss);
        }
        let held = landing.lease_on(&pipeline(), "lago", LOSSY).await.unwrap();
        for _ in 0..100 {
            sleep(LOSSY.renewal * 4).await;
            if proxy.is_spent() {
                break;
            }
        }
        assert!(proxy.is_spent(), "{loss:?}");
        sleep(LOSSY.renewal * 4).await;
        held.check().unwrap();
        assert!(
            refused(&landing)
                .await
                .contains(&Process::this().to_string())
        );
        held.release().await;
        take(&landing).await.unwrap().release().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_renew_it_takes_it_for_lost_before_others_take_it() {
    let server = S3Server::start().unwrap();
    let proxy = Proxy::start(&server.endpoint()).unwrap();
    let held = take(&in_s3(&server, &proxy)).await.unwrap();
    drop(proxy);
    sleep(SHORT.length / 2).await;
    held.check().unwrap();
    sleep(SHORT.length / 2 + SHORT.renewal * 2).await;
    held.check().unwrap_err();
    let again = Proxy::start(&server.endpoint()).unwrap();
    assert!(is_refused_elsewhere(&in_s3(&server, &again)).await);
}

/// Whether one on another machine would be refused. The times of objects in S3 are whole seconds.
async fn is_refused_elsewhere(landing: &Landing) -> bool {
    let object = Object {
        landing: landing.clone(),
        path: path(),
    };
    let mut found = object.found().await.unwrap().unwrap();
    let noted = found.note.as_mut().unwrap().holder.as_mut().unwrap();
    noted.process = serde_json::from_value(elsewhere("")["holder"]["process"].clone()).unwrap();
    object
        .refusal(&found, "lago", LOSSY)
        .await
        .unwrap()
        .is_some()
}

#[tokio::test]
async fn in_a_folder_the_file_is_locked_and_the_lock_ends_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let landing = Landing::open(folder.path().to_str().unwrap()).unwrap();
    let held = take(&landing).await.unwrap();
    held.check().unwrap();
    let told = refused(&landing).await;
    for word in [
        "lago",
        &Process::this().to_string(),
        " UTC",
        "wait until it ends, or end process",
    ] {
        assert!(told.contains(word), "{told}");
    }
    held.release().await;
    let next = take(&landing).await.unwrap();
    assert!(take(&landing).await.is_err());
    drop(next);
    take(&landing).await.unwrap();
}

#[tokio::test]
#[cfg(unix)]
async fn a_link_in_the_place_of_the_file_is_not_followed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = other.path().join("ajeno.json");
    std::fs::write(&target, "ajeno").unwrap();
    std::fs::create_dir(folder.path().join("formacion")).unwrap();
    let link = folder.path().join("formacion/_lease-lago.json");
    std::os::unix::fs::symlink(&target, link).unwrap();
    let landing = Landing::open(folder.path().to_str().unwrap()).unwrap();
    let error = take(&landing).await.unwrap_err();
    assert!(error.report().contains("symbolic link"), "{error:?}");
    assert_eq!(std::fs::read_to_string(target).unwrap(), "ajeno");
}

#[tokio::test]
async fn it_is_no_stream_and_no_load() {
    let folder = tempfile::tempdir().unwrap();
    for landing in [
        Landing::open(folder.path().to_str().unwrap()).unwrap(),
        in_memory(),
    ] {
        let _held = take(&landing).await.unwrap();
        assert_eq!(landing.streams(&pipeline()).await.unwrap(), []);
        let lease: StreamName = "ventas".parse().unwrap();
        assert!(
            landing
                .inventory(&pipeline(), &lease)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
