"""Know the words that shops and public logs use for events, and for no value."""

from __future__ import annotations

import re

from recsys_assets.columns import EVENT_TYPES

#: Our event type → other words for it, without case and punctuation. They are those of
#: RetailRocket, Taobao, MIND, REES46, Google Analytics 4, Segment and Shopify. A favourite or a
#: wish list is kept for later, as a basket is. What is taken out of a basket (REES46's
#: remove_from_cart) is none of them: the visitor was interested, and may still be.
_OTHER_WORDS = {
    "Impression": "impressions shown show display displayed exposure exposed viewitemlist"
    " viewpromotion productlistviewed",
    "View": "views viewed click clicks clicked pv pageview productview productviewed productclick"
    " productclicked viewitem selectitem itemview detail detailview viewproduct viewcontent open",
    "AddToCart": "addedtocart cart basket addtobasket addtobag tocart cartadd productadded fav"
    " favorite favourite addtofavorites addtofavourites wishlist addtowishlist",
    "ViewCart": "viewedcart cartview cartviewed viewbasket",
    "StartCheckout": "checkout begincheckout checkoutstarted initiatecheckout startedcheckout",
    "Purchase": "purchases purchased transaction transactions order orders ordered buy bought"
    " ordercompleted checkoutcompleted orderplaced completedorder sale",
    "Dismiss": "dismissed dismissal notinterested notinterestedinthis notforme dislike disliked"
    " thumbsdown downvote",
}


#: What programs write where there is no value, in lower case. As an id they would make all unknown
#: visitors one. "NA" is none of them: it may be an id.
NO_VALUE = ("nan", "null", "none", "undefined", "<na>", "(null)", "\\n", "#n/a")
#: Words of events that take something back. None of ours does.
_TAKEN_BACK = ("remove", "delete", "cancel", "refund", "return", "undo")


def plain_word(text: str) -> str:
    """Return a word without case and punctuation.

    >>> plain_word("Add_to-Cart")
    'addtocart'
    """
    return re.sub(r"[^a-z0-9]", "", text.lower())


#: Word without case and punctuation → our event type.
EVENT_WORDS = {
    **{plain_word(kind): kind for kind in EVENT_TYPES},
    **{word: kind for kind, words in _OTHER_WORDS.items() for word in words.split()},
}


def takes_back(word: str) -> bool:
    """Return whether a word names an event that takes another one back.

    >>> takes_back("remove_from_cart"), takes_back("cart")
    (True, False)
    """
    return any(part in plain_word(word) for part in _TAKEN_BACK)


def likely_event(word: str) -> str | None:
    """Return the event type that an unknown word is likely to mean; None: nobody can tell.

    >>> likely_event("Wishlisted"), likely_event("remove_from_cart"), likely_event("zoom")
    ('AddToCart', None, None)
    """
    if takes_back(word):
        return None
    text = plain_word(word)
    known = [one for one in EVENT_WORDS if len(one) > 3 and one in text]
    return EVENT_WORDS[max(known, key=len)] if known else None
