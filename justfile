# Runs all checks of CI.
check:
    bash .ci/run

# Trains the quickstart in the dashboard.
run:
    cargo run --release

# Opens the API documentation in a browser.
docs:
    cargo doc --no-deps --open

# Checks the GPU code on a software driver: golden numbers, and losses against those of the CPU.
gpu-software:
    bash tests/gpu-software.sh
