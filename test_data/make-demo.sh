#!/bin/sh
# Makes test_data/demo.img.gz: a disk of 16 MiB as somebody might find it in a drawer.
#
#   partition 1  FAT16, label HOLIDAY: long names, an old letter, a text kept twice
#   partition 2  ext4, label backup: the same text a third time under another name, a symbolic link, a hard link, a sparse file, a name that is
#                not UTF-8, a deleted file
#
# Needs mtools, dosfstools, e2fsprogs and util-linux; no root. UUIDs, serials and modification times are fixed; creation and change times are
# those of the run.
set -eu
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1049522828 E2FSPROGS_FAKE_TIME=1049522828 MTOOLS_SKIP_CHECK=1
out=$(cd "$(dirname "$0")" && pwd)/demo.img.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
day='2003-04-05 06:07:08 UTC'

mkdir -p fat/Letters ext/old/letters ext/photos
seq -f 'Line %g of a letter that was never sent.' 1 400 > fat/Letters/'A letter to the editor, final version.txt'
cp fat/Letters/*.txt fat/'Copy of A letter to the editor, final version.txt'
cp fat/Letters/*.txt ext/old/letters/editor.txt
seq 1 30000 > fat/NUMBERS.CSV
printf 'buy floppies\n' > fat/todo.txt
printf 'buy floppies\n' > ext/todo
ln -s old/letters ext/latest
ln ext/old/letters/editor.txt ext/old/letters/editor.bak
seq -f 'pixel %g' 1 9000 > "ext/photos/caf$(printf '\351').raw"
: > ext/empty
truncate -s 64M ext/disk.sparse
printf 'an island in a sea of nothing' | dd of=ext/disk.sparse bs=1 seek=50000000 conv=notrunc status=none
find fat ext -exec touch -h -d "$day" {} +

truncate -s 6M fat.img
mkfs.fat -F 16 -s 1 -n HOLIDAY -i 20030405 --invariant fat.img > mkfs.log
mcopy -m -i fat.img -s fat/* ::
printf 'a secret\n' > gone.txt && touch -d "$day" gone.txt
mcopy -m -i fat.img gone.txt :: && mdel -i fat.img ::gone.txt

truncate -s 8M ext.img
mke2fs -q -t ext4 -b 1024 -L backup -U 20030405-0607-0809-1011-121314151617 -E hash_seed=20030405-0607-0809-1011-121314151617,root_owner=0:0 -d ext ext.img

truncate -s 16M demo.img
printf 'label: dos\nlabel-id: 0x20030405\nstart=2048, size=12288, type=6\nstart=14336, size=16384, type=83\n' | /sbin/sfdisk -q demo.img
dd if=fat.img of=demo.img bs=512 seek=2048 conv=notrunc,sparse status=none
dd if=ext.img of=demo.img bs=512 seek=14336 conv=notrunc,sparse status=none
gzip -9nc demo.img > "$out"
ls -l "$out"
