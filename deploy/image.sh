#!/bin/sh
# An OCI image without a base image: Debian's packages by mmdebstrap, the program from a wheel, put together by buildah.
#
#   apt install mmdebstrap buildah netavark        # as root, or with user namespaces
#   make release && deploy/image.sh dist/flowrunner_server-0.1.0-py3-none-any.whl dist/flowrunner-0.1.0.oci.tar
#   EXTRAS='mcp otel temporal' deploy/image.sh …            # which extras are in it; without the variable, temporal
#   podman load --input dist/flowrunner-0.1.0.oci.tar       # or skopeo copy oci-archive:… to a registry
#
# deploy/Dockerfile makes the same from an image of Python; what is said there about running it holds here. The Python of
# this machine has to be that of the suite: it installs the dependencies.
set -eu

wheel=$1
target=$2
version=$(basename "$wheel" | cut -d - -f 2)
suite=${SUITE:-trixie}
extras=${EXTRAS-temporal}
here=$(cd "$(dirname "$0")" && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
root=$place/root

# Without manuals, and without the lists of packages.
mmdebstrap --quiet --variant=minbase --include=python3-minimal,python3,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*' \
    "$suite" "$root"

# The interpreter of the environment is that of the image, whose path is the same here.
python3 -m venv --without-pip "$root/opt/flowrunner"
ln -sf /usr/bin/python3 "$root/opt/flowrunner/bin/python3"
install="python3 -m pip --disable-pip-version-check --python $root/opt/flowrunner/bin/python3 install --quiet"
for each in runtime $extras; do set -- "$@" --requirement "$here/../requirements/$each.txt"; done
shift 2
$install --require-hashes "$@"
$install --no-deps "$wheel"
python3 -m pip --python "$root/opt/flowrunner/bin/python3" uninstall --quiet --yes \
    editables hatchling packaging pathspec pluggy tomlkit trove-classifiers
grep -rlI "$root" "$root/opt/flowrunner/bin" "$root/opt/flowrunner/pyvenv.cfg" | xargs -r sed -i "s#$root##g"
# The numbers are fixed, so that files on a volume keep their owner.
echo 'flowrunner:x:10001:10001::/var/lib/flowrunner:/usr/sbin/nologin' >>"$root/etc/passwd"
echo 'flowrunner:x:10001:' >>"$root/etc/group"
install -d -m 0700 -o 10001 -g 10001 "$root/var/lib/flowrunner"

export BUILDAH_ISOLATION=chroot STORAGE_DRIVER="${STORAGE_DRIVER:-vfs}"
container=$(buildah from scratch)
# As an archive, because only that keeps the owners.
tar --directory "$root" --create --file "$place/root.tar" --one-file-system .
buildah add --quiet "$container" "$place/root.tar" / >/dev/null
buildah config --user 10001:10001 --workingdir /var/lib/flowrunner --volume /var/lib/flowrunner --port 8080 \
    --stop-signal SIGTERM --entrypoint '["flowrunner"]' --cmd serve \
    --env PATH=/opt/flowrunner/bin:/usr/bin:/bin --env FLOWRUNNER_DATA_DIR=/var/lib/flowrunner \
    --env FLOWRUNNER_HOST=0.0.0.0 --env FLOWRUNNER_LOG_FORMAT=json "$container"
rm -f "$target"
buildah commit --quiet --rm --disable-compression=false "$container" "oci-archive:$target:flowrunner:$version" >/dev/null
ls -l "$target"
