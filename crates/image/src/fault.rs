//! Power cuts for the tests: the process ends at the n-th durable step, and what had not been
//! flushed by then is lost. Outside of tests every function here is empty.

#[cfg(not(test))]
mod off {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::Path;

    use sys::fs::Root;

    /// A rename that nobody looks at.
    pub(crate) struct Renaming;

    #[inline]
    pub(crate) fn point(_: &'static str) {}
    #[inline]
    pub(crate) fn wrote(_: &File) {}
    #[inline]
    pub(crate) fn wrote_tree(_: &Root) {}
    #[inline]
    pub(crate) fn flushed(_: &File) {}
    #[inline]
    pub(crate) fn flushed_dir(_: impl AsFd) {}
    #[inline]
    pub(crate) fn flushed_all() {}
    #[inline]
    pub(crate) fn renaming(_: &Root, _: &Path, _: &Path) -> Renaming {
        Renaming
    }
    #[inline]
    pub(crate) fn removing(_: &Root, _: &Path) -> Renaming {
        Renaming
    }
    #[inline]
    pub(crate) fn renamed(_: Renaming) {}
}
#[cfg(not(test))]
pub(crate) use off::*;

#[cfg(test)]
mod on;
#[cfg(test)]
pub(crate) use on::*;
