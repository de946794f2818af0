const { roundTrip } = require('./round-trip.cjs');

void roundTrip(process.argv[2]).then(() => console.log('round trip'));
