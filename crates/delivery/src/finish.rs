//! What has begun is finished, whether or not somebody still waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Work that goes on in a task of its own when whoever waits for it leaves: a batch may be on its way, and
/// what is to follow it must. As long as somebody waits it runs there, which is a task and two switches
/// less.
pub(crate) struct Finish<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Finish<F> {
    pub(crate) fn new(work: F) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finish<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.0.as_mut().expect("it is not asked again once it has ended");
        let output = std::task::ready!(work.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        // One that panicked cannot go on.
        if let Some(work) = self.0.take().filter(|_| !std::thread::panicking())
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_leaves_does_not_stop_it() {
        let (go, gone) = oneshot::channel::<()>();
        let (told, heard) = oneshot::channel();
        let mut work = Finish::new(async move {
            gone.await.unwrap();
            told.send(7).unwrap();
        });
        // It has begun.
        assert!(std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut work).poll(cx))).await.is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(heard.await, Ok(7));
    }

    #[tokio::test]
    async fn who_stays_hears_of_it() {
        assert_eq!(Finish::new(async { 7 }).await, 7);
    }
}
