/**
 * The formats, byte for byte: what the encoders write today is what the golden files have held since the
 * format began, and the decoders give back what went in. AIOKV_GOLDEN=write makes the files anew, which is
 * right only together with a new format version.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { writeXxh64 } from '@aiokv/core';
import type { Sequence } from '@aiokv/core';
import { partBytes, readEntry, readPart, sealPart, writeEntry } from '../../packages/kv/src/format/checkpoint.ts';
import {
  encodeOldRoot,
  encodeRoot,
  oldRootBytes,
  readRoot,
  rootBytes,
  rootLength,
} from '../../packages/kv/src/format/checkpoint-root.ts';
import {
  MAX_VALUE_BYTES,
  encodeTable,
  fragmentValueBytes,
  maxRecordBytes,
  maxValueBytes,
  readTable,
  tableBytes,
} from '../../packages/kv/src/format/extent.ts';
import { HOT_BLOCK_BYTES, HotBlockReader, HotBlockWriter } from '../../packages/kv/src/format/hot-keys.ts';
import { pageFault, sealPage } from '../../packages/kv/src/format/page.ts';
import {
  expiryOf,
  fileOffsetOf,
  inlineValueOf,
  isInFragments,
  isInline,
  isOverAt,
  lengthOf,
  lengthWordOf,
  sequenceOfWords,
} from '../../packages/kv/src/format/index-entry.ts';
import { FRAME_HEADER_BYTES, frameHash, readFrame, sealFrame } from '../../packages/kv/src/format/frame.ts';
import {
  FLAG_BATCH_CONTINUES,
  FLAG_EXTENT,
  RecordKind,
  copyValue,
  expiresAtOf,
  encodeRecord,
  isExtent,
  isKnownRecord,
  keyEquals,
  paddedRecordBytes,
  recordBytes,
  recordBytesAt,
  recordFault,
  sequenceOf,
} from '../../packages/kv/src/format/record.ts';
import {
  SegmentKind,
  encodeSegmentHeader,
  readSegmentHeader,
  segmentHash,
} from '../../packages/kv/src/format/segment.ts';
import {
  isPossibleSegmentEntry,
  mostTableEntries,
  readSegmentEntry,
  readTablePart,
  sealTablePart,
  tablePartBytes,
  writeSegmentEntry,
} from '../../packages/kv/src/format/segment-table.ts';
import { encodeSuperblock, isCopy, readSuperblock, superblockHash } from '../../packages/kv/src/format/superblock.ts';
import type { Superblock } from '../../packages/kv/src/format/superblock.ts';
import type { Block } from '../../packages/kv/src/format/words.ts';
import { Memtable } from '../../packages/kv/src/index/memtable.ts';
import { Entry, NodeMemory, PageImage, Tree, decodeImage, node } from '../../packages/kv/src/tree/index.ts';

const sequence = (value: number): Sequence => value as Sequence;
const uuid = Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i);

function block(lengthBytes: number): Block {
  const memory = new ArrayBuffer(lengthBytes);
  return { bytes: new Uint8Array(memory), view: new DataView(memory) };
}

/** 32 bytes a line, in hexadecimal, so that a difference can be read. */
function dump(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return `${(hex.match(/.{1,64}/g) ?? []).join('\n')}\n`;
}

function golden(name: string, bytes: Uint8Array): string {
  const file = new URL(`golden/${name}.hex`, import.meta.url);
  if (process.env['AIOKV_GOLDEN'] === 'write') writeFileSync(file, dump(bytes));
  return readFileSync(file, 'utf8');
}

test('record', (t) => {
  const key = Buffer.from('key');
  const value = Buffer.from('value!');
  const target = block(64);
  encodeRecord(target, 8, RecordKind.put, FLAG_BATCH_CONTINUES, sequence(2 ** 40 + 7), key, 3, value);
  const length = recordBytes(3, 6);
  t.is(
    golden('record', target.bytes.subarray(8, 8 + paddedRecordBytes(3, 6))),
    dump(target.bytes.subarray(8, 8 + paddedRecordBytes(3, 6))),
  );
  t.is(recordFault(target, 8, length), null);
  t.is(recordFault(target, 8, length - 1), 'record checksum');
  t.true(keyEquals(target, 8, key, 3));
  t.false(keyEquals(target, 8, key, 2));
  t.is(sequenceOf(target.view, 8), sequence(2 ** 40 + 7));
  t.is(copyValue(target, 8).toString(), 'value!');
});

test('record: one that expires', (t) => {
  const expiresAtMs = 2 ** 40 + 0x1234_5678;
  const target = block(64);
  encodeRecord(target, 8, RecordKind.put, 0, sequence(12), Buffer.from('key'), 3, Buffer.from('value!'), expiresAtMs);
  const length = recordBytes(3, 6, expiresAtMs);
  t.is(length, recordBytes(3, 6) + 8);
  const bytes = target.bytes.subarray(8, 8 + paddedRecordBytes(3, 6, expiresAtMs));
  t.is(golden('record-expires', bytes), dump(bytes));
  t.is(recordFault(target, 8, length), null);
  t.is(recordFault(target, 8, length - 8), 'record checksum');
  t.is(recordBytesAt(target.view, 8), length);
  t.is(expiresAtOf(target.view, 8), expiresAtMs);
  t.is(copyValue(target, 8).toString(), 'value!');
  t.true(isKnownRecord(target.view, 8));
  for (const kind of [RecordKind.del, RecordKind.deleteRange, RecordKind.fragment]) {
    encodeRecord(target, 8, kind, 0, sequence(12), Buffer.from('key'), 3, Buffer.alloc(0), expiresAtMs);
    t.false(isKnownRecord(target.view, 8), `kind ${kind}`);
  }
});

test('record: the deletion of a range', (t) => {
  const target = block(64);
  encodeRecord(target, 0, RecordKind.deleteRange, 0, sequence(9), Buffer.from('from'), 4, Buffer.from('to'));
  const bytes = target.bytes.subarray(0, paddedRecordBytes(4, 2));
  t.is(golden('record-delete-range', bytes), dump(bytes));
  t.true(isKnownRecord(target.view, 0));
  encodeRecord(target, 0, RecordKind.deleteRange, FLAG_EXTENT, sequence(9), Buffer.from('from'), 4, Buffer.from('to'));
  t.false(isKnownRecord(target.view, 0));
});

test('extent: a fragment, and the put with the table', (t) => {
  const key = Buffer.from('key');
  const fragment = block(32);
  encodeRecord(fragment, 0, RecordKind.fragment, FLAG_BATCH_CONTINUES, sequence(6), key, 3, Buffer.from('01234'));
  t.is(golden('fragment', fragment.bytes), dump(fragment.bytes));
  t.true(isKnownRecord(fragment.view, 0));
  const fragments = [
    { fileOffset: 2 ** 40 + 8, lengthBytes: 32, check: fragment.view.getUint32(0, true) },
    { fileOffset: 2 ** 33, lengthBytes: 28, check: 0xffff_ffff },
  ];
  const table = encodeTable({ valueBytes: 6, fragments });
  t.is(table.length, tableBytes(2));
  const put = block(80);
  encodeRecord(put, 0, RecordKind.put, FLAG_EXTENT, sequence(8), key, 3, table);
  t.is(golden('extent', put.bytes), dump(put.bytes));
  t.true(isKnownRecord(put.view, 0) && isExtent(put.view, 0));
  t.deepEqual(readTable(put.view, 27, table.length, 3), { valueBytes: 6, fragments });
  t.is(readTable(put.view, 27, table.length, 2), null, 'the fragments would be longer');
  t.is(readTable(put.view, 27, table.length - 16, 3), null);
  t.is(readTable(put.view, 27, 8, 3), null);
  const wrong = block(32);
  encodeRecord(wrong, 0, RecordKind.fragment, FLAG_EXTENT, sequence(6), key, 3, Buffer.from('01234'));
  t.false(isKnownRecord(wrong.view, 0));
});

test('fragments fill segments, and their tables fit into records, in every geometry', (t) => {
  for (let segmentBytes = 64 * 1024; segmentBytes <= 32 * 1024 * 1024; segmentBytes *= 2) {
    for (const writeAlignment of [4096, 16_384]) {
      const geometry = { pageBytes: 4096, writeAlignment, segmentBytes, headerBytes: 262_144 };
      const longest = maxValueBytes(geometry);
      t.is(longest, MAX_VALUE_BYTES);
      for (const keyBytes of [0, 3, 4096]) {
        const fragment = fragmentValueBytes(geometry, keyBytes);
        const padded = paddedRecordBytes(keyBytes, fragment);
        t.true(padded <= maxRecordBytes(geometry));
        const frames = Math.floor((segmentBytes - writeAlignment) / (padded + FRAME_HEADER_BYTES));
        t.true(
          frames * (padded + FRAME_HEADER_BYTES) >
            (writeAlignment === 4096 ? 0.97 : 0.9) * (segmentBytes - 2 * writeAlignment),
        );
        const table = tableBytes(Math.ceil(longest / fragment));
        t.true(paddedRecordBytes(keyBytes, table) <= maxRecordBytes(geometry));
      }
    }
  }
});

test('frame', (t) => {
  const target = block(256);
  encodeRecord(target, FRAME_HEADER_BYTES, RecordKind.put, 0, sequence(11), Buffer.from('a'), 1, Buffer.from('1'));
  encodeRecord(
    target,
    FRAME_HEADER_BYTES + 32,
    RecordKind.del,
    0,
    sequence(12),
    Buffer.from('b'),
    1,
    new Uint8Array(0),
  );
  const header = {
    payloadBytes: 64,
    epoch: 0x1234_5678_9abc,
    segmentSequence: 3,
    frameNumber: 5,
    recordCount: 2,
    firstSequence: sequence(11),
    lastSequence: sequence(12),
    flushedThrough: sequence(10),
    previousHash: 0xfeed_face_cafe_beefn,
  };
  const hash = sealFrame(target, header);
  t.is(golden('frame', target.bytes.subarray(0, 144)), dump(target.bytes.subarray(0, 144)));
  t.deepEqual(readFrame(target), header);
  t.is(frameHash(target), hash);
  for (let at = 0; at < 144; at++) {
    target.bytes[at] = (target.bytes[at] as number) ^ 0x10;
    t.is(readFrame(target), null, `byte ${at}`);
    target.bytes[at] = (target.bytes[at] as number) ^ 0x10;
  }
});

test('segment header', (t) => {
  const target = block(4096);
  const header = {
    kind: SegmentKind.log,
    uuid,
    sequence: 9,
    epoch: 0x1234_5678_9abc,
    slot: 4,
    predecessor: { segmentSequence: 8, frameNumber: 77, hash: 0x0123_4567_89ab_cdefn },
  };
  const hash = encodeSegmentHeader(target, header);
  t.is(golden('segment-header', target.bytes.subarray(0, 128)), dump(target.bytes.subarray(0, 128)));
  t.deepEqual(readSegmentHeader(target), header);
  t.is(segmentHash(target), hash);
});

test('superblock', (t) => {
  const target = block(4096);
  const superblock: Superblock = {
    formatVersion: 1,
    compatibleFeatures: 1n,
    readOnlyCompatibleFeatures: 2n,
    incompatibleFeatures: 7n,
    uuid,
    geometry: { pageBytes: 4096, writeAlignment: 4096, segmentBytes: 4_194_304, headerBytes: 262_144 },
    maxKeyBytes: 4096,
    maxFrameBytes: 262_144,
    comparator: 1,
    maxValueBytes: 67_108_864,
    sequence: 6,
    previousHash: 0x1111_2222_3333_4444n,
    checkpointRoot: 0,
    checkpointSequence: sequence(0),
    logStart: { segmentSequence: 1, slot: 0, lastSequenceBefore: 0 as Sequence },
    logEnd: {
      link: { segmentSequence: 9, frameNumber: 77, hash: 0x0123_4567_89ab_cdefn },
      lastSequence: sequence(2 ** 33),
    },
    expiryHorizonMs: 0,
  };
  const hash = encodeSuperblock(target, superblock, 2);
  t.is(golden('superblock', target.bytes.subarray(0, 544)), dump(target.bytes.subarray(0, 544)));
  t.deepEqual(readSuperblock(target), superblock);
  t.is(superblockHash(target), hash);
  t.true(isCopy(target, superblock, 2));
  t.false(isCopy(target, superblock, 1));
  const open = block(4096);
  encodeSuperblock(open, { ...superblock, logEnd: null }, 1);
  t.is(readSuperblock(open)?.logEnd, null);
  open.bytes.set(target.bytes.subarray(512), 512);
  t.false(isCopy(open, superblock, 2), 'the number of another superblock');
  // With what expires.
  const expires = { ...superblock, incompatibleFeatures: 31n, expiryHorizonMs: 2 ** 40 + 5 };
  const horizon = block(4096);
  encodeSuperblock(horizon, expires, 0);
  t.is(golden('superblock-expiry', horizon.bytes.subarray(0, 544)), dump(horizon.bytes.subarray(0, 544)));
  t.deepEqual(readSuperblock(horizon), expires);
  // What 0.1 wrote.
  const old = { ...superblock, incompatibleFeatures: 3n };
  const first = block(4096);
  encodeSuperblock(first, old, 1);
  t.is(golden('superblock-0.1', first.bytes.subarray(0, 512)), dump(first.bytes.subarray(0, 512)));
  t.true(first.bytes.subarray(512).every((byte) => byte === 0));
  t.true([0, 1, 2, 3].every((copy) => isCopy(first, old, copy)));
});

/** A tree with entries of all kinds. */
function entriesOfAllKinds(): { memory: NodeMemory; tree: Tree } {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const memtable = new Memtable(memory, sequence(2 ** 40));
  const tree = new Tree(memory);
  memtable.putInline(Buffer.from('empty'), 5, Buffer.alloc(0), 0, 0, 2 ** 40 + 7);
  memtable.putInline(Buffer.from('inline'), 6, Buffer.from('<five>'), 1, 4, 2 ** 40 + 8);
  memtable.putRecord(Buffer.from('in fragments'), 12, 2 ** 45 + 8, lengthWordOf(100, true), 2 ** 40 + 9);
  memtable.putRecord(Buffer.from('record'), 6, 2 ** 45 + 16, 200, 2 ** 40 + 10);
  const cursor = memtable.cursor();
  for (let more = cursor.first(); more; more = cursor.next()) {
    const { word0, word1, extra, extraWords } = cursor.entry;
    tree.set(cursor.keyBytes, cursor.keyLength, word0, word1, extra, isInline(cursor.entry) ? extraWords : 0);
  }
  return { memory, tree };
}

test('index page: a leaf with entries that expire', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const memtable = new Memtable(memory, sequence(2 ** 40));
  const tree = new Tree(memory);
  const times = [2 ** 40 + 1, 2 ** 41, 0, 7];
  memtable.putInline(Buffer.from('empty'), 5, Buffer.alloc(0), 0, 0, 2 ** 40 + 7, times[0]);
  memtable.putInline(Buffer.from('inline'), 6, Buffer.from('<five>'), 1, 4, 2 ** 40 + 8, times[1]);
  memtable.putInline(Buffer.from('never'), 5, Buffer.from('twelve bytes'), 0, 12, 2 ** 40 + 9);
  memtable.putRecord(Buffer.from('record'), 6, 2 ** 45 + 16, 200, 2 ** 40 + 10, times[3]);
  const cursor = memtable.cursor();
  for (let more = cursor.first(); more; more = cursor.next()) {
    const { word0, word1, extra, extraWords } = cursor.entry;
    const own = isInline(cursor.entry) ? 0 : 1;
    tree.set(cursor.keyBytes, cursor.keyLength, word0, word1, extra.subarray(own), extraWords - own);
  }
  const { root } = tree.snapshot();
  const page = new PageImage();
  page.make(memory, root, 2 ** 33 + 5);
  const target = block(page.lengthBytes);
  page.copyTo(target, 0);
  t.is(golden('index-page-leaf-expires', target.bytes), dump(target.bytes));
  const back = new Uint32Array(128);
  t.true(decodeImage(target, 0, back, 0, 128));
  t.deepEqual(wordsOf(back, 0, 128), wordsOf(memory.words(root), memory.base(root), 128));
  const entry = new Entry();
  const found = [0, 1, 2, 3].map((index) => {
    node.loadEntry(back, 0, index, entry);
    return [expiryOf(entry), isOverAt(entry, 2 ** 40), isOverAt(entry, 2 ** 41)];
  });
  t.deepEqual(found, [
    [2 ** 40 + 1, false, true],
    [2 ** 41, false, true],
    [0, false, false],
    [7, true, true],
  ]);
  node.loadEntry(back, 0, 1, entry);
  t.is(inlineValueOf(entry).toString(), 'five');
});

/** The used words of a node, those of its birth as zeros. */
function wordsOf(words: Uint32Array, base: number, capacityWords: number): number[] {
  const used = [
    ...words.subarray(base, base + node.lowWords(words, base)),
    ...words.subarray(base + node.heapLow(words, base), base + capacityWords),
  ];
  used[1] = 0;
  return used;
}

test('index page: a leaf', (t) => {
  const { memory, tree } = entriesOfAllKinds();
  const { root } = tree.snapshot();
  const page = new PageImage();
  page.make(memory, root, 2 ** 33 + 5);
  const { lengthBytes, tag } = page;
  const target = block(16 + lengthBytes);
  page.copyTo(target, 16);
  const image = target.bytes.subarray(16);
  t.is(golden('index-page-leaf', image), dump(image));
  const expected = { pageId: root, units: 1, tag };
  t.is(pageFault(target, 16, lengthBytes, expected), null);
  t.is(pageFault(target, 16, lengthBytes, { ...expected, tag: tag ^ 1 }), 'tag');
  t.is(pageFault(target, 16, lengthBytes, { ...expected, pageId: root + 1 }), 'page id');
  t.is(pageFault(target, 16, lengthBytes, { ...expected, units: 2 }), 'units');
  t.is(pageFault(target, 16, lengthBytes + 8, expected), 'length');
  const back = new Uint32Array(128);
  t.true(decodeImage(target, 16, back, 0, 128));
  t.deepEqual(wordsOf(back, 0, 128), wordsOf(memory.words(root), memory.base(root), 128));
  t.false(decodeImage(target, 16, back, 0, 26), 'it does not fit');
  const end = 32 + target.view.getUint32(16 + 28, true);
  for (let at = 0; at < end; at++) {
    const byte = target.bytes[16 + at] as number;
    target.bytes[16 + at] = byte ^ 0x10;
    t.not(pageFault(target, 16, lengthBytes, expected), null, `byte ${at}`);
    target.bytes[16 + at] = byte;
  }
});

test('index page: an inner page, and one of another form', (t) => {
  const memory = new NodeMemory({ nodeBytes: 512 });
  const tree = new Tree(memory);
  for (let n = 0; n < 100; n++) tree.set(Buffer.from(`key ${n * 37}`), `key ${n * 37}`.length, n, n);
  const { root } = tree.snapshot();
  const page = new PageImage();
  page.make(memory, root, 3);
  const target = block(page.lengthBytes);
  page.copyTo(target, 0);
  t.is(golden('index-page-inner', target.bytes), dump(target.bytes));
  const back = new Uint32Array(128);
  t.true(decodeImage(target, 0, back, 0, 128));
  t.deepEqual(wordsOf(back, 0, 128), wordsOf(memory.words(root), memory.base(root), 128));
  const header = { pageId: root, units: 1, checkpoint: 3, level: 1, entries: 3, payloadBytes: page.lengthBytes - 32 };
  const tag = sealPage(target, 0, header);
  const expected = { pageId: root, units: 1, tag };
  t.is(pageFault(target, 0, page.lengthBytes, expected), null);
  target.bytes[27] = 2;
  writeXxh64(target.bytes.subarray(8), target.view, 0);
  const newer = { ...expected, tag: target.view.getUint16(0, true) };
  t.is(pageFault(target, 0, page.lengthBytes, newer), 'form');
});

test('index page: a leaf in the form of version 0.1', (t) => {
  const { memory, tree } = entriesOfAllKinds();
  const { root } = tree.snapshot();
  const text = readFileSync(new URL('golden/index-page-form-0.hex', import.meta.url), 'utf8');
  const bytes = Buffer.from(text.replaceAll('\n', ''), 'hex');
  const target = block(bytes.length);
  target.bytes.set(bytes);
  const expected = { pageId: 1, units: 1, tag: target.view.getUint16(0, true) };
  t.is(pageFault(target, 0, bytes.length, expected), null);
  t.is(pageFault(target, 0, bytes.length, { ...expected, pageId: 78 }), 'page id');
  const back = new Uint32Array(128);
  t.true(decodeImage(target, 0, back, 0, 128));
  t.deepEqual(wordsOf(back, 0, 128), wordsOf(memory.words(root), memory.base(root), 128));
  t.false(decodeImage(target, 0, back, 0, 12), 'it does not fit');
  for (let at = 0; at < 32 + 4 * (target.view.getUint32(24, true) + target.view.getUint32(28, true)); at++) {
    const byte = target.bytes[at] as number;
    target.bytes[at] = byte ^ 0x10;
    t.not(pageFault(target, 0, bytes.length, expected), null, `byte ${at}`);
    target.bytes[at] = byte;
  }
});

test('the entries of a leaf: records, and values inline', (t) => {
  const { tree } = entriesOfAllKinds();
  const entry = new Entry();
  tree.get(Buffer.from('inline'), 6, entry);
  t.is(inlineValueOf(entry).toString(), 'five');
  t.is(sequenceOfWords(entry), 2 ** 40 + 8);
  tree.get(Buffer.from('empty'), 5, entry);
  t.is(inlineValueOf(entry).length, 0);
  t.is(entry.extraWords, 0);
  tree.get(Buffer.from('in fragments'), 12, entry);
  t.true(isInFragments(entry) && !isInline(entry) && fileOffsetOf(entry) === 2 ** 45 + 8 && lengthOf(entry) === 100);
});

test('mapping', (t) => {
  const target = block(8 + partBytes(2));
  const entries = [
    { pageId: 1, fileOffset: 262_144 + 4096, imageBytes: 88, units: 1, tag: 0xbeef },
    { pageId: 2 ** 31 - 1, fileOffset: 2 ** 50 + 8, imageBytes: 2 ** 24, units: 255, tag: 1 },
  ];
  for (const [i, entry] of entries.entries()) writeEntry(target, 8 + partBytes(i), entry);
  const tag = sealPart(target, 8, 2, 99);
  t.is(golden('mapping', target.bytes.subarray(8)), dump(target.bytes.subarray(8)));
  const reference = { fileOffset: 0, bytes: partBytes(2), tag };
  t.is(readPart(target, 8, reference), 2);
  t.deepEqual([readEntry(target, 8 + partBytes(0)), readEntry(target, 8 + partBytes(1))], entries);
  t.is(readPart(target, 8, { ...reference, tag: tag + 1 }), null);
  t.is(readPart(target, 8, { ...reference, bytes: partBytes(1) }), null);
  for (let at = 8; at < target.bytes.length; at++) {
    const byte = target.bytes[at] as number;
    target.bytes[at] = byte ^ 1;
    t.is(readPart(target, 8, reference), null, `byte ${at}`);
    target.bytes[at] = byte;
  }
});

test('segment table', (t) => {
  const target = block(8 + tablePartBytes(2));
  const entries = [
    {
      slot: 3,
      kind: SegmentKind.log,
      sequence: 2 ** 40 + 1,
      liveBytes: 4096,
      liveRecords: 100,
      usedBytes: 2 ** 25 - 4096,
      firstSequence: 2 ** 36,
      lastSequence: 2 ** 36 + 16_384,
      bornMs: 1_790_000_000_000,
    },
    {
      slot: 2 ** 31,
      kind: SegmentKind.index,
      sequence: 2 ** 53 - 1,
      liveBytes: 0,
      liveRecords: 0,
      usedBytes: 88,
      firstSequence: 0,
      lastSequence: 0,
      bornMs: 0,
    },
  ];
  for (const [i, entry] of entries.entries()) writeSegmentEntry(target, 8 + tablePartBytes(i), entry);
  const tag = sealTablePart(target, 8, 2, 99);
  t.is(golden('segment-table', target.bytes.subarray(8)), dump(target.bytes.subarray(8)));
  const reference = { fileOffset: 0, bytes: tablePartBytes(2), tag };
  t.is(readTablePart(target, 8, reference), 2);
  t.deepEqual(
    entries.map((_, i) => readSegmentEntry(target, 8 + tablePartBytes(i))),
    entries,
  );
  t.is(readTablePart(target, 8, { ...reference, tag: tag + 1 }), null);
  t.is(readTablePart(target, 8, { ...reference, bytes: tablePartBytes(1) }), null);
  t.is(readPart(target, 8, reference), null, 'no part of the mapping');
  for (let at = 8; at < target.bytes.length; at++) {
    const byte = target.bytes[at] as number;
    target.bytes[at] = byte ^ 1;
    t.is(readTablePart(target, 8, reference), null, `byte ${at}`);
    target.bytes[at] = byte;
  }
});

test('segment table: entries that cannot be', (t) => {
  const entry = {
    slot: 9,
    kind: SegmentKind.log,
    sequence: 1,
    liveBytes: 65_536,
    liveRecords: 8192,
    usedBytes: 65_536,
    firstSequence: 5,
    lastSequence: 5,
    bornMs: 0,
  };
  const isPossible = (changes: Partial<typeof entry> | { readonly kind: number }): boolean =>
    isPossibleSegmentEntry({ ...entry, ...changes }, 65_536, 10);
  t.true(isPossible({}));
  t.true(isPossible({ liveBytes: 0, liveRecords: 0, usedBytes: 0, firstSequence: 0, lastSequence: 0 }));
  for (const changes of [
    { slot: 10 },
    { kind: 0 },
    { kind: 4 },
    { sequence: Number.NaN },
    { liveBytes: 65_544 },
    { usedBytes: 65_544 },
    { liveRecords: 8193 },
    { liveRecords: 0 },
    { liveBytes: 0 },
    { firstSequence: 6 },
    { lastSequence: 4 },
    { lastSequence: Number.NaN },
    { bornMs: Number.NaN },
  ]) {
    t.false(isPossible(changes), JSON.stringify(changes));
  }
});

test('a part of the segment table has at most 64 KiB, and is full in every geometry', (t) => {
  for (let segmentBytes = 65_536; segmentBytes <= 32 * 1024 * 1024; segmentBytes *= 2) {
    for (const writeAlignment of [4096, 16_384]) {
      const entries = mostTableEntries({ pageBytes: 4096, writeAlignment, segmentBytes, headerBytes: 262_144 });
      const most = Math.min(65_536, segmentBytes - writeAlignment);
      t.true(tablePartBytes(entries) <= most && tablePartBytes(entries + 1) > most, `${segmentBytes}`);
    }
  }
});

/** Each byte of the root at 16, changed, has to be noticed. */
function refusesChanges(t: ExecutionContext, target: Block): void {
  for (let at = 16; at < target.bytes.length; at++) {
    const byte = target.bytes[at] as number;
    target.bytes[at] = byte ^ 1;
    t.is(readRoot(target, 16), null, `byte ${at}`);
    target.bytes[at] = byte;
  }
}

test('checkpoint root', (t) => {
  const root = {
    sequence: 2 ** 40,
    rootPage: 12,
    pages: 3,
    keys: 2 ** 35,
    mappingParts: [{ fileOffset: 2 ** 41, bytes: 72, tag: 0xffff_ffff }],
    tableParts: [
      { fileOffset: 2 ** 42, bytes: 65_472, tag: 7 },
      { fileOffset: 2 ** 33, bytes: 96, tag: 0x8000_0000 },
    ],
  };
  const length = rootBytes(1, 2);
  const target = block(16 + length);
  encodeRoot(target, 16, root);
  t.is(golden('checkpoint-root', target.bytes.subarray(16)), dump(target.bytes.subarray(16)));
  t.is(rootLength(target, 16), length);
  t.deepEqual(readRoot(target, 16), { ...root, slots: null });
  refusesChanges(t, target);
  const empty = { sequence: 5, rootPage: 0, pages: 0, keys: 0, mappingParts: [], tableParts: [] };
  const small = block(rootBytes(0, 0));
  encodeRoot(small, 0, empty);
  t.deepEqual(readRoot(small, 0), { ...empty, slots: null });
});

test('checkpoint root of version 0.1', (t) => {
  const root = {
    sequence: 2 ** 40,
    rootPage: 12,
    pages: 3,
    keys: 2 ** 35,
    mappingParts: [{ fileOffset: 2 ** 41, bytes: 72, tag: 0xffff_ffff }],
    slots: [3, 0, 70_000],
  };
  const length = oldRootBytes(1, 3);
  const target = block(16 + length);
  encodeOldRoot(target, 16, root);
  t.is(golden('checkpoint-root-0.1', target.bytes.subarray(16)), dump(target.bytes.subarray(16)));
  t.is(rootLength(target, 16), length);
  t.deepEqual(readRoot(target, 16), { ...root, tableParts: null });
  refusesChanges(t, target);
});

test('a block of hot keys', (t) => {
  const target = block(HOT_BLOCK_BYTES);
  const writer = new HotBlockWriter(target);
  const words = new Uint32Array(3);
  const bytes = new Uint8Array(words.buffer);
  bytes.set(Buffer.from('hottesthot'));
  t.true(writer.add({ words, base: 0, keyBytes: 7, valueBytes: 1000 }));
  bytes.copyWithin(4, 7);
  t.true(writer.add({ words, base: 1, keyBytes: 3, valueBytes: 70_000 }));
  writer.seal(uuid);
  const used = target.bytes.subarray(0, 48 + 6 + 7 + 6 + 3);
  t.is(golden('hot-keys', used), dump(used));
  const reader = new HotBlockReader(target);
  reader.begin(uuid);
  const keys: [string, number][] = [];
  while (reader.next()) {
    const { bytes, keyAt, keyBytes, valueBytes } = reader;
    keys.push([Buffer.from(bytes.subarray(keyAt, keyAt + keyBytes)).toString(), valueBytes]);
  }
  t.deepEqual(keys, [
    ['hottest', 1000],
    ['hot', 70_000],
  ]);
});
