//! v1 hugetlb: `hugetlb.<size>.limit_in_bytes`.

use oci_spec::runtime::LinuxHugepageLimit;

use crate::cgroup::plan::{Step, write};
use crate::cgroup::{Error, Missing};

pub(in crate::cgroup) fn plan(limits: &[LinuxHugepageLimit]) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for limit in limits {
        let size = page_size(limit.page_size())?;
        let file = format!("hugetlb.{size}.limit_in_bytes");
        steps.push(write(file, limit.limit(), Missing::Hugetlb).into());
    }
    Ok(steps)
}

/// A page size becomes a part of a file name: digits and a unit, nothing else.
pub(in crate::cgroup) fn page_size(size: &str) -> Result<&str, Error> {
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 && matches!(&size[digits..], "B" | "KB" | "MB" | "GB" | "TB") {
        Ok(size)
    } else {
        Err(Error::Value { what: "huge page size", value: size.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxHugepageLimitBuilder;

    use super::*;

    #[test]
    fn plans() {
        let limit = |size: &str| {
            [LinuxHugepageLimitBuilder::default().page_size(size).limit(9).build().unwrap()]
        };
        assert_eq!(
            plan(&limit("2MB")).unwrap(),
            [write("hugetlb.2MB.limit_in_bytes", 9, Missing::Hugetlb).into()]
        );
        for bad in ["", "MB", "../2MB", "2MB/..", "2mb"] {
            assert!(plan(&limit(bad)).is_err(), "{bad}");
        }
    }
}
