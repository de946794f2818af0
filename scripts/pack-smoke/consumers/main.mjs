import { roundTrip } from './round-trip.mjs';

// Without an await at the top level: some bundles are CommonJS.
void roundTrip(process.argv[2]).then(() => console.log('round trip'));
