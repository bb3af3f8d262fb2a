# All that CI checks.
check:
    bash .ci/run

# The quickstart, in the dashboard.
run:
    cargo run --release

# The API documentation, in the browser.
docs:
    cargo doc --no-deps --open

# The GPU path on a software driver: golden numbers, and losses as on the CPU.
gpu-software:
    bash tests/gpu-software.sh
