"""Runs and models to send, keep and upload.

archive         runs as one file, to keep or to send
ship            small trained models that come with the workbook
hub             a model as a folder for the hub, with a card
cards           what a card says
card_code       the Python of a card, which answers with transformers alone where it can
push            the upload of such a folder
"""
