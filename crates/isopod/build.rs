//! Links the program statically.

mod link;

fn main() -> std::io::Result<()> {
    link::statically("isopod")
}
