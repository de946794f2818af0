/**
 * The core workload: what one operation of the load or the run phase does, for which record, with which
 * values. It is shared by all clients and knows no time and no concurrency; those are the client's.
 *
 * With `dataintegrity=true` every record that a read or a scan brings is checked: all fields that were asked
 * for, each with its deterministic value; the rows of a scan in the order of their keys from the start key on,
 * which is there because only inserted records are chosen.
 *
 * An operation costs the benchmark itself about 0.7 µs
 * (`npm run -s ycsb -- run basic -P benchmarks/workloads/workloadc -p operationcount=1000000`).
 */
import type { Random } from '@aiokv/core';
import type { Fields, Row } from './db.ts';
import { DeterministicValues, randomValue } from './field-values.ts';
import { AcknowledgedCounter } from './generators/acknowledged-counter.ts';
import { Constant } from './generators/constant.ts';
import { Counter } from './generators/counter.ts';
import { Discrete } from './generators/discrete.ts';
import type { NumberGenerator } from './generators/number-generator.ts';
import { Uniform } from './generators/uniform.ts';
import { Zipfian } from './generators/zipfian.ts';
import { keyChooser } from './key-chooser.ts';
import { KeyNames } from './key-name.ts';
import type { MeasuredDb } from './measured-db.ts';
import type { Measurements, Status } from './measurements/measurements.ts';
import { recordsToLoad } from './settings.ts';
import type { Settings } from './settings.ts';
import type { Troubles } from './troubles.ts';

type Transaction = (db: MeasuredDb) => Promise<void>;

export class CoreWorkload {
  readonly #settings: Settings;
  readonly #random: Random;
  readonly #measurements: Measurements;
  readonly #troubles: Troubles;
  readonly #keyNames: KeyNames;
  readonly #fieldNames: readonly string[];
  readonly #fieldLengths: NumberGenerator;
  readonly #deterministic: DeterministicValues | null;
  readonly #loaded: Counter;
  readonly #inserted: AcknowledgedCounter;
  readonly #transactions: Discrete<Transaction>;
  readonly #scanLengths: NumberGenerator;
  /** Made when the first operation needs it: for `latest` that takes a while, and loading never does. */
  #records: NumberGenerator | null = null;

  constructor(settings: Settings, random: Random, measurements: Measurements, troubles: Troubles) {
    this.#settings = settings;
    this.#random = random;
    this.#measurements = measurements;
    this.#troubles = troubles;
    this.#keyNames = new KeyNames(settings.insertorder === 'ordered', settings.zeropadding);
    this.#fieldNames = Array.from({ length: settings.fieldcount }, (_, i) => settings.fieldnameprefix + i);
    this.#fieldLengths = fieldLengths(settings, random);
    this.#deterministic = settings.dataintegrity ? new DeterministicValues(settings.fieldlength) : null;
    const { start, total } = recordsToLoad(settings);
    this.#loaded = new Counter(start);
    this.#inserted = new AcknowledgedCounter(total);
    this.#scanLengths = scanLengths(settings, random);
    this.#transactions = new Discrete<Transaction>(random, [
      [(db) => this.#read(db), settings.readproportion],
      [(db) => this.#update(db), settings.updateproportion],
      [(db) => this.#insertNew(db), settings.insertproportion],
      [(db) => this.#scan(db), settings.scanproportion],
      [(db) => this.#readModifyWrite(db), settings.readmodifywriteproportion],
    ]);
  }

  /** Makes ready what `transaction` would else make at its first call. */
  prepareTransactions(): void {
    this.#records ??= keyChooser(this.#settings, this.#random, this.#inserted);
  }

  /** One operation of the load phase; whether it succeeded. */
  insert(db: MeasuredDb): Promise<boolean> {
    const key = this.#keyNames.of(this.#loaded.next());
    return db.insert(this.#settings.table, key, this.#allFields(key));
  }

  /** One operation of the run phase. What it comes to is in the measurements. */
  transaction(db: MeasuredDb): Promise<void> {
    return this.#transactions.next()(db);
  }

  async #read(db: MeasuredDb): Promise<void> {
    const key = this.#existingKey();
    const fields = this.#fieldsToRead();
    const found = await db.read(this.#settings.table, key, fields);
    this.#verify(key, found, fields);
  }

  async #update(db: MeasuredDb): Promise<void> {
    const key = this.#existingKey();
    await db.update(this.#settings.table, key, this.#fieldsToWrite(key));
  }

  async #insertNew(db: MeasuredDb): Promise<void> {
    const number = this.#inserted.next();
    try {
      const key = this.#keyNames.of(number);
      await db.insert(this.#settings.table, key, this.#allFields(key));
    } finally {
      this.#inserted.acknowledge(number);
    }
  }

  async #scan(db: MeasuredDb): Promise<void> {
    const startKey = this.#existingKey();
    const count = this.#scanLengths.next();
    const fields = this.#fieldsToRead();
    const startMs = performance.now();
    const rows = await db.scan(this.#settings.table, startKey, count, fields);
    const endMs = performance.now();
    if (rows.length > 0) {
      this.#measurements.measureDirect('SCAN-LATENCY-PER-RECORD', (endMs - startMs) / rows.length, endMs);
    }
    this.#verifyRows(startKey, count, rows, fields);
  }

  async #readModifyWrite(db: MeasuredDb): Promise<void> {
    const key = this.#existingKey();
    const fields = this.#fieldsToRead();
    const values = this.#fieldsToWrite(key);
    const startMs = performance.now();
    const intendedStartMs = db.intendedStartOr(startMs);
    const found = await db.read(this.#settings.table, key, fields);
    await db.update(this.#settings.table, key, values);
    this.#measurements.measure('READ-MODIFY-WRITE', startMs, intendedStartMs, performance.now());
    this.#verify(key, found, fields);
  }

  #existingKey(): string {
    this.prepareTransactions();
    return this.#keyNames.of((this.#records as NumberGenerator).next());
  }

  #fieldsToRead(): readonly string[] | null {
    return this.#settings.readallfields ? null : [this.#anyField()];
  }

  #anyField(): string {
    return this.#fieldNames[this.#random.below(this.#fieldNames.length)] as string;
  }

  #fieldsToWrite(key: string): Fields {
    if (this.#settings.writeallfields) return this.#allFields(key);
    const field = this.#anyField();
    return { [field]: this.#value(key, field) };
  }

  #allFields(key: string): Fields {
    const fields: Fields = {};
    for (const field of this.#fieldNames) fields[field] = this.#value(key, field);
    return fields;
  }

  #value(key: string, field: string): Uint8Array {
    return this.#deterministic?.build(key, field) ?? randomValue(this.#random, this.#fieldLengths.next());
  }

  /** Checks a record as it was read; an absent one counts as an error, because it was inserted. */
  #verify(key: string, found: Fields | null, fields: readonly string[] | null): void {
    if (this.#deterministic === null) return;
    const startMs = performance.now();
    const nothing = found === null || Object.keys(found).length === 0;
    const status = nothing ? 'ERROR' : this.#isExpected(key, found, fields) ? 'OK' : 'UNEXPECTED_STATE';
    this.#verified(key, startMs, status);
  }

  #verifyRows(startKey: string, count: number, rows: readonly Row[], fields: readonly string[] | null): void {
    if (this.#deterministic === null) return;
    if (rows.length === 0) this.#verified(startKey, performance.now(), 'ERROR');
    let before = '';
    for (const [i, row] of rows.entries()) {
      const startMs = performance.now();
      const inPlace = i === 0 ? row.key === startKey : row.key > before && i < count;
      before = row.key;
      const expected = inPlace && this.#isExpected(row.key, row.fields, fields);
      this.#verified(row.key, startMs, expected ? 'OK' : 'UNEXPECTED_STATE');
    }
  }

  #isExpected(key: string, found: Fields, fields: readonly string[] | null): boolean {
    const names = fields ?? this.#fieldNames;
    if (Object.keys(found).length !== names.length) return false;
    for (const name of names) {
      const value = found[name];
      if (value === undefined || this.#deterministic?.matches(value, key, name) !== true) return false;
    }
    return true;
  }

  #verified(key: string, startMs: number, status: Status): void {
    const endMs = performance.now();
    this.#measurements.measureDirect('VERIFY', endMs - startMs, endMs);
    this.#measurements.reportStatus('VERIFY', status);
    if (status !== 'OK') {
      this.#troubles.mismatch(`${key} ${status === 'ERROR' ? 'is not there' : 'is not as it was written'} (${status})`);
    }
  }
}

function fieldLengths(settings: Settings, random: Random): NumberGenerator {
  const { fieldlength, minfieldlength, fieldlengthdistribution } = settings;
  if (fieldlengthdistribution === 'uniform') return new Uniform(random, minfieldlength, fieldlength);
  if (fieldlengthdistribution === 'zipfian') return new Zipfian(random, minfieldlength, fieldlength);
  return new Constant(fieldlength);
}

function scanLengths(settings: Settings, random: Random): NumberGenerator {
  const { minscanlength, maxscanlength } = settings;
  return settings.scanlengthdistribution === 'zipfian'
    ? new Zipfian(random, minscanlength, maxscanlength)
    : new Uniform(random, minscanlength, maxscanlength);
}
