/**
 * Chooses the record that an operation is for, as `requestdistribution` says, and only among those whose
 * insert was acknowledged: whatever else is drawn is drawn again.
 *
 * Scrambled zipfian takes its draws modulo the number of records. Were that number to grow with the inserts,
 * other records would become the popular ones at each, and so it begins with twice as many new records as
 * the run is expected to insert; those that are not there yet are drawn again.
 */
import type { Random } from '@aiokv/core';
import type { AcknowledgedCounter } from './generators/acknowledged-counter.ts';
import { Exponential } from './generators/exponential.ts';
import { Hotspot } from './generators/hotspot.ts';
import { Latest } from './generators/latest.ts';
import type { NumberGenerator } from './generators/number-generator.ts';
import { ScrambledZipfian } from './generators/scrambled-zipfian.ts';
import { Sequential } from './generators/sequential.ts';
import { Uniform } from './generators/uniform.ts';
import { recordsToLoad } from './settings.ts';
import type { Settings } from './settings.ts';

const EXPECTED_INSERTS_FACTOR = 2;

interface Parts {
  readonly settings: Settings;
  readonly random: Random;
  readonly inserted: AcknowledgedCounter;
  /** The first and the last of the records that the load phase inserts, and how many there are in all. */
  readonly first: number;
  readonly last: number;
  readonly total: number;
}

const CHOOSERS: Readonly<Record<Settings['requestdistribution'], (parts: Parts) => NumberGenerator>> = {
  uniform: ({ random, inserted, first, last }) => among(inserted, new Uniform(random, first, last)),
  sequential: ({ inserted, first, last }) => among(inserted, new Sequential(first, last)),
  latest: ({ random, inserted }) => among(inserted, new Latest(random, inserted)),
  hotspot({ settings, random, inserted, first, last }) {
    const { hotspotdatafraction, hotspotopnfraction } = settings;
    return among(inserted, new Hotspot(random, first, last, hotspotdatafraction, hotspotopnfraction));
  },
  zipfian({ settings, random, inserted, first, last }) {
    const newRecords = Math.floor(settings.operationcount * settings.insertproportion * EXPECTED_INSERTS_FACTOR);
    return among(inserted, new ScrambledZipfian(random, first, last + 1 + newRecords));
  },
  exponential({ settings, random, inserted, total }) {
    const range = total * settings['exponential.frac'];
    return backFrom(inserted, new Exponential(random, settings['exponential.percentile'], range));
  },
};

/** Record numbers in the order in which operations want them. */
export function keyChooser(settings: Settings, random: Random, inserted: AcknowledgedCounter): NumberGenerator {
  const { start, count, total } = recordsToLoad(settings);
  const choose = CHOOSERS[settings.requestdistribution];
  return choose({ settings, random, inserted, first: start, last: start + count - 1, total });
}

function among(inserted: AcknowledgedCounter, numbers: NumberGenerator): NumberGenerator {
  return {
    next() {
      for (;;) {
        const number = numbers.next();
        if (number <= inserted.last) return number;
      }
    },
  };
}

function backFrom(inserted: AcknowledgedCounter, distances: NumberGenerator): NumberGenerator {
  return {
    next() {
      for (;;) {
        const number = inserted.last - Math.floor(distances.next());
        if (number >= 0) return number;
      }
    },
  };
}
