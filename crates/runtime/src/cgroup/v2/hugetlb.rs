//! v2 hugetlb: `hugetlb.<size>.max`, and the reservation limit where the kernel has it (5.7).

use oci_spec::runtime::LinuxHugepageLimit;

use crate::cgroup::files::Knobs;
use crate::cgroup::plan::{Step, write};
use crate::cgroup::v1::hugetlb::page_size;
use crate::cgroup::{Error, Missing};

pub(in crate::cgroup) fn plan(
    limits: &[LinuxHugepageLimit],
    knobs: &dyn Knobs,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for limit in limits {
        let size = page_size(limit.page_size())?;
        let value = if limit.limit() < 0 { "max".to_owned() } else { limit.limit().to_string() };
        let reserved = format!("hugetlb.{size}.rsvd.max");
        if knobs.has(&reserved) {
            steps.push(write(reserved, &value, Missing::Hugetlb).into());
        }
        steps.push(write(format!("hugetlb.{size}.max"), value, Missing::Hugetlb).into());
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxHugepageLimitBuilder;

    use super::*;
    use crate::cgroup::files::fake::Fake;

    #[test]
    fn plans() {
        let limit =
            LinuxHugepageLimitBuilder::default().page_size("1GB").limit(-1).build().unwrap();
        let there = Fake::new(&[("hugetlb.1GB.rsvd.max", "max")]);
        let steps = plan(&[limit], &there).unwrap();
        assert_eq!(
            steps,
            [
                write("hugetlb.1GB.rsvd.max", "max", Missing::Hugetlb).into(),
                write("hugetlb.1GB.max", "max", Missing::Hugetlb).into()
            ]
        );
    }
}
