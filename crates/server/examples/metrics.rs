//! Prints docs/reference/metrics.md: `cargo run -p cresset-server --example metrics`.

fn main() {
    print!("{}", cresset_server::metrics_page());
}
