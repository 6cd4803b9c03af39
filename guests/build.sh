#!/usr/bin/env bash
# Rebuild what is committed as WebAssembly: the JavaScript runtime and the component among the example agents.
#
#   guests/build.sh
#
# Uses rustup's wasm32-unknown-unknown target where it is installed. Otherwise, on Debian, rustc-web and rust-web-src
# (installed with apt-get if missing), building the standard library from source. QuickJS is C and needs clang,
# llvm-ar and lld; the result is packed with zstd. Run it after a change to any file that guests/digests.txt lists.
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
target=wasm32-unknown-unknown

runtime=guests/javascript
example=examples/agents/log-redactor
inputs=(wit/*.wit)
for crate in guests/encode "$runtime" "$example"; do
  inputs+=("$crate/Cargo.toml" "$crate/Cargo.lock" "$crate"/src/*)
done

need() {
  command -v "$1" >/dev/null || { echo "$1 is missing: install ${2:-$1}" >&2; exit 1; }
}
need clang; need llvm-ar llvm; need zstd

# Nothing of this machine's paths goes into what is built.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CC_wasm32_unknown_unknown=clang AR_wasm32_unknown_unknown=llvm-ar
export CFLAGS_wasm32_unknown_unknown="-ffile-prefix-map=$root=. -ffile-prefix-map=$cargo_home=cargo"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--remap-path-prefix=$root=. --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=/usr/lib/rustlib/src/rust=rust"
export CARGO_TARGET_DIR=$root/guests/target

build() { # CRATE_DIR
  (
    cd "$1"
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
      cargo build --locked --release --target "$target"
    else
      if [ ! -x /usr/bin/rustc ] || [ ! -d /usr/lib/rustlib/src/rust/library ]; then
        apt-get update -q >/dev/null
        apt-get install -y -q --no-install-recommends rustc-web rust-web-src >/dev/null
      fi
      host=$(rustc -vV | sed -n 's/^host: //p')
      export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
      RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc cargo build --locked --release --target "$target" -Zbuild-std=std,panic_abort
    fi
  )
}

encode() { # CORE COMPONENT [INIT]
  cargo run --quiet --locked --manifest-path guests/encode/Cargo.toml -- "$@"
}

built=$CARGO_TARGET_DIR/$target/release
component=$CARGO_TARGET_DIR/runtime.wasm

build "$runtime"
encode "$built/javascript_runtime.wasm" "$component" initialize
zstd -q -f -19 -o "$runtime/runtime.wasm.zst" "$component"

build "$example"
encode "$built/log_redactor.wasm" "$example/agent.wasm"

cd guests
{
  echo "# sha256 of what build.sh made (the runtime as it is unpacked), then of what it made it from; paths from here."
  echo "$(sha256sum <"$component" | cut -d' ' -f1)  javascript/runtime.wasm"
  sha256sum "../$example/agent.wasm" build.sh
  sha256sum "${inputs[@]/#/../}" | sed 's| \.\./guests/| |'
} >digests.txt
cd ..

ls -l "$component" "$runtime/runtime.wasm.zst" "$example/agent.wasm"
