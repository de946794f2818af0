/** What `aegir/chai` exports: chai with the plugins that its users know. */
import chai from 'chai';
import promised from 'chai-as-promised';
import dirty from 'dirty-chai';

// The order that dirty-chai asks for: it wraps what is there.
chai.use(promised);
chai.use(dirty);

export const { expect } = chai;
