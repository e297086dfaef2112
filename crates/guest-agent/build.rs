//! Links the agent as the main program is linked: static, for it is alone in its machine, where there
//! are no libraries.

#[path = "../isopod/link.rs"]
mod link;

fn main() -> std::io::Result<()> {
    link::statically("guest-agent")
}
