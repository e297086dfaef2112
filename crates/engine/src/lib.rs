//! TODO doc
