//! Prints a page of docs/reference: `cargo run -p cresset-wire --example reference messages`.

fn main() -> Result<(), String> {
    match std::env::args().nth(1).as_deref() {
        Some("messages") => print!("{}", cresset_wire::v1::messages_page()),
        Some("errors") => print!("{}", cresset_wire::v1::errors_page()),
        _ => return Err("which page? messages or errors".into()),
    }
    Ok(())
}
