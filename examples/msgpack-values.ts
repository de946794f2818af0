/**
 * Objects as values: a store keeps bytes, a codec makes bytes of objects.
 *
 *   node --import=tsx --conditions=@aiokv/source examples/msgpack-values.ts [directory]
 *
 * The store is made in a new directory under the one given (default: the working directory) and removed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createCodec } from '@aiokv/core';
import { open } from '@aiokv/kv';

interface Book {
  readonly title: string;
  readonly year: number;
  readonly authors: readonly string[];
}

const books: readonly Book[] = [
  { title: 'The Art of Computer Programming', year: 1968, authors: ['Knuth'] },
  { title: 'The C Programming Language', year: 1978, authors: ['Kernighan', 'Ritchie'] },
  { title: 'Structured Programming', year: 1972, authors: ['Dahl', 'Dijkstra', 'Hoare'] },
];

const codec = createCodec<Book>();
const directory = await mkdtemp(join(process.argv[2] ?? '.', '.tmp-msgpack-'));
try {
  const store = await open(directory);
  try {
    // Keys are ordered bytewise, so years of four digits are in order of time.
    await store.batch(
      books.map((book) => ({ type: 'put', key: `book:${book.year}`, value: codec.encode(book) }) as const),
    );
    const bytes = await store.get('book:1972');
    if (bytes !== undefined) console.log(`1972: ${codec.decode(bytes).authors.join(', ')}`);
    for await (const [key, value] of store.iterator({ gte: 'book:1970', lt: 'book:1980' })) {
      console.log(`${key.toString()}: ${codec.decode(value).title}`);
    }
  } finally {
    await store.close();
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}
