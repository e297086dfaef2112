//! Power cuts for the tests: the process ends at the n-th durable step, and what had not been
//! flushed by then is lost. Outside of tests every function here is empty.

#[cfg(not(test))]
mod off {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::Path;

    use sys::fs::Root;

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
    pub(crate) fn renaming(_: &Root, _: &Path, _: &Path) {}
    #[inline]
    pub(crate) fn removing(_: &Root, _: &Path) {}
    #[inline]
    pub(crate) fn renamed(_: ()) {}
}
#[cfg(not(test))]
pub(crate) use off::*;

#[cfg(test)]
mod on;
#[cfg(test)]
pub(crate) use on::*;
