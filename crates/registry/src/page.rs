//! Lists that are read a page at a time.

use crate::error::Error;
use crate::percent::{Query, encoded};

/// What a client wants of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// At most so many.
    pub(crate) most: Option<usize>,
    /// Only what comes after this.
    pub(crate) last: Option<String>,
}

impl Page {
    /// Reads `n` and `last`.
    pub(crate) fn parse(query: &Query) -> Result<Self, Error> {
        let most = match query.get("n") {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(|_| Error::PageSize)?),
        };
        Ok(Self { most, last: query.get("last").filter(|last| !last.is_empty()).map(Into::into) })
    }

    /// Cuts a sorted list to the page. Gives the query of the next one if there is more.
    pub(crate) fn cut<T>(
        &self,
        mut list: Vec<T>,
        key: impl Fn(&T) -> &str,
    ) -> (Vec<T>, Option<String>) {
        if let Some(last) = &self.last {
            list.retain(|item| key(item) > last.as_str());
        }
        let Some(most) = self.most.filter(|most| *most < list.len()) else { return (list, None) };
        list.truncate(most);
        let next = list.last().map(|last| format!("last={}&n={most}", encoded(key(last))));
        (list, next)
    }
}

/// The header that leads to the next page.
pub(crate) fn link(path: &str, query: &str) -> String {
    format!("<{path}?{query}>; rel=\"next\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str, list: &[&'static str]) -> (Vec<&'static str>, Option<String>) {
        let page = Page::parse(&Query::parse(query)).expect("a page");
        page.cut(list.to_vec(), |item| item)
    }

    #[test]
    fn pages_follow_each_other() {
        let list = ["a", "b", "c"];
        assert_eq!(page("", &list), (list.to_vec(), None));
        assert_eq!(page("n=2", &list), (vec!["a", "b"], Some("last=b&n=2".into())));
        assert_eq!(page("n=2&last=b", &list), (vec!["c"], None));
        assert_eq!(page("n=3", &list), (list.to_vec(), None));
        assert_eq!(page("n=0", &list), (vec![], None));
        assert_eq!(page("last=zz", &list), (vec![], None));
        // What was last may have been removed since.
        assert_eq!(page("last=aa", &list), (vec!["b", "c"], None));
        assert!(Page::parse(&Query::parse("n=-1")).is_err());
        assert!(Page::parse(&Query::parse("n=x")).is_err());
    }
}
