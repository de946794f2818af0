/** Runs what a compiler made of `typed.mts`: its file, then the directory of the store. */
const { strictEqual } = require('node:assert');
const [file, directory] = process.argv.slice(2);

void require(file)
  .main(directory)
  .then((found) => {
    strictEqual(found, 'fruit plum ERR_AIOKV_CLOSED 4096');
    console.log('round trip');
  });
