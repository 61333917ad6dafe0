//! A pool in a `static`, used from test runtimes that come and go.
//!
//! These are apart from the other tests of behaviour because a static pool keeps the handle of the
//! first runtime that it meets, and with it that runtime's descriptors.

use std::sync::LazyLock;

use tokio::runtime::Handle;

use super::ThreadPoolExecutor;
use crate::executor::Executor;

static POOL: LazyLock<ThreadPoolExecutor> = LazyLock::new(|| ThreadPoolExecutor::new(2));

#[tokio::test]
async fn a_static_pool_serves_one_test_runtime() {
    use_the_pool().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pool_serves_another_test_runtime() {
    use_the_pool().await;
}

async fn use_the_pool() {
    let own = Handle::current().id();
    for _ in 0..100 {
        assert_eq!(POOL.submit(u64::pow, (2, 8)).await.unwrap(), 256);
        let seen = POOL.spawn(|| Handle::current().id()).await.unwrap();
        assert_eq!(seen, own, "the task is in the runtime that submitted it");
    }
}

#[test]
fn a_static_pool_serves_plain_code() {
    assert_eq!(POOL.submit(u64::pow, (2, 8)).result().unwrap(), 256);
}
