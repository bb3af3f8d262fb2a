# All that CI checks.
check:
    bash .ci/run

# The quickstart, in the dashboard.
run:
    cargo run --release

# The picture of README.md comes from a real run; see docs/performance.md for measurements.
docs:
    cargo doc --no-deps --open
